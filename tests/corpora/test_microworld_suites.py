"""Suites: the right option is right, and words alone do not tell which one it is."""

from __future__ import annotations

import collections
import math
import re

import pytest

from ablab.corpora.microworld import Item, Suite, consistency, documents, suites
from ablab.corpora.microworld.grammar import grammar, sentences
from ablab.corpora.microworld.state import State
from ablab.corpora.microworld.world import build
from ablab.errors import InputError

OPERATIONS = (0, 1, 2)


@pytest.fixture(scope="module")
def made() -> dict[str, Suite]:
    return suites(0, 100, OPERATIONS)


@pytest.fixture(scope="module")
def stories() -> str:
    return "\n".join(documents(0, 140_000, "train"))


def all_items(made: dict[str, Suite], *names: str) -> list[Item]:
    chosen = [made[name] for name in names or made]
    return [item for suite in chosen for items in suite.tasks.values() for item in items]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_the_suites_are_those_of_the_study_in_shape(made: dict[str, Suite]) -> None:
    shape = {name: (suite.group, suite.chance, len(suite.tasks)) for name, suite in made.items()}
    assert shape == {
        "minimal_pairs": ("linguistic", 0.5, 7),
        "qa_congruence": ("reasoning", 0.5, 4),
        "entity_tracking": ("reasoning", 0.2, 3),
        "world_knowledge": ("reasoning", 0.5, 8),
        "nonce_morphology": ("reasoning", 0.5, 4),
    }


@pytest.mark.parametrize("seed", range(8))
def test_every_world_has_100_different_items_for_every_task(seed: int) -> None:
    made = suites(seed, 100, OPERATIONS)
    for suite in made.values():
        for task, items in suite.tasks.items():
            assert [item.id for item in items] == [f"{task}/{i:04d}" for i in range(100)]
            assert len({(item.context, item.options) for item in items}) == 100


def test_mirrored_copies_are_one_cluster_and_items_that_share_nothing_have_none(made: dict[str, Suite]) -> None:
    assert {item.cluster for item in all_items(made, "entity_tracking")} == {None}
    for task, items in made["qa_congruence"].tasks.items():
        of: dict[str | None, list[Item]] = collections.defaultdict(list)
        for item in items:
            of[item.cluster].append(item)
        assert {len(copies) for copies in of.values()} == {2}
        told = {cluster: {item.context.rpartition(". ")[0] for item in copies} for cluster, copies in of.items()}
        assert all(len(stories) == 1 for stories in told.values()), task


def test_chance_is_one_in_the_number_of_different_options(made: dict[str, Suite]) -> None:
    for suite in made.values():
        for item in all_items(made, suite.name):
            assert len(set(item.options)) == len(item.options) == round(1 / suite.chance)


def test_completions_begin_with_a_space_and_sentence_pairs_have_no_context(made: dict[str, Suite]) -> None:
    for item in all_items(made):
        for option in item.options:
            assert option.startswith(" ") == bool(item.context)
            assert option.endswith(".")
            assert (item.context + option).isascii()
    assert {item.context for item in all_items(made, "minimal_pairs", "qa_congruence")} == {""}


def test_asking_for_more_items_extends_every_task(made: dict[str, Suite]) -> None:
    fewer = suites(0, 40, OPERATIONS)
    for name, suite in fewer.items():
        for task, items in suite.tasks.items():
            assert made[name].tasks[task][:40] == items


def test_more_items_than_a_task_has_are_refused_with_the_number_it_has() -> None:
    with pytest.raises(InputError, match=r"items=100000 .* ask for at most \d+"):
        suites(0, 100_000)


def test_every_pair_has_a_mirrored_copy(made: dict[str, Suite]) -> None:
    """In the copy the words that were wrong are right: only their order or their context tells."""
    for item, copy in _pairs(all_items(made, "minimal_pairs", "qa_congruence")):
        right, wrong = (words(item.options[i] + copy.options[i]) for i in (0, 1))
        assert sorted(right) == sorted(wrong)
    for item, copy in _pairs(all_items(made, "world_knowledge", "nonce_morphology")):
        assert copy.options == item.options[::-1]
        assert copy.context != item.context


def _pairs(items: list[Item]) -> list[tuple[Item, Item]]:
    return list(zip(items[::2], items[1::2], strict=True))


def test_a_unigram_model_is_at_chance_on_every_suite(made: dict[str, Suite], stories: str) -> None:
    counts = collections.Counter(words(stories))

    def score(option: str) -> float:
        return round(sum(math.log(counts[word] + 1) for word in words(option)), 6)

    for suite in made.values():
        credits = []
        for item in all_items(made, suite.name):
            scores = [score(option) for option in item.options]
            ties = scores.count(max(scores))
            credits.append((scores[0] == max(scores)) / ties)
        assert sum(credits) / len(credits) == pytest.approx(suite.chance, abs=0.06), suite.name


def test_no_sentence_pair_is_told_in_a_story(made: dict[str, Suite], stories: str) -> None:
    for item in all_items(made, "minimal_pairs", "qa_congruence"):
        for option in item.options:
            assert option not in stories


def test_no_made_up_word_of_an_item_is_told_in_a_story(made: dict[str, Suite], stories: str) -> None:
    told = set(words(stories))
    world = build(0)
    for item in all_items(made, "nonce_morphology"):
        stems = [stem for stem in world.nonce_unseen if any(w.startswith(stem) for w in words(item.context))]
        assert stems
        assert not any(word.startswith(tuple(stems)) for word in told)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("suite", ["world_knowledge", "entity_tracking"])
def test_only_the_right_option_is_true(suite: str, seed: int) -> None:
    for item in all_items(suites(seed, 60, OPERATIONS), suite):
        verdicts = [consistency(seed, [item.context + option]) for option in item.options]
        assert verdicts[0].contradicted == 0 < verdicts[0].true, item
        assert all(wrong.contradicted == 1 for wrong in verdicts[1:]), item


def test_only_the_right_answer_to_a_question_is_true(made: dict[str, Suite]) -> None:
    for item in all_items(made, "qa_congruence"):
        good, bad = (consistency(0, [option]) for option in item.options)
        assert (good.contradicted, bad.contradicted) == (0, 1), item
        assert good.true == bad.true + 1


def test_entity_tracking_moves_the_object_asked_for_as_often_as_its_task_says(made: dict[str, Suite]) -> None:
    world = build(0)
    read = grammar(world).read
    for operations in OPERATIONS:
        for item in made["entity_tracking"].tasks[f"regular_{operations}_ops"]:
            readings = [read(sentence) for sentence in sentences(item.context + item.options[0])]
            state = State(world)
            known = [reading for reading in readings if reading is not None]
            assert [state.hear(reading) for reading in known][-1] is True
            asked = known[-1].roles["object"]
            moves = [r for r in known if r.event == "move" and r.roles["object"] == asked]
            assert len(moves) == operations


def test_the_right_sentence_of_a_minimal_pair_is_of_the_language_and_the_wrong_one_breaks_a_rule() -> None:
    """Reading ignores agreement of determiners and gender, so those two tasks are looked at by eye."""
    made = suites(1, 60)["minimal_pairs"]
    read = grammar(build(1)).read
    for task in ("agreement_simple", "agreement_attractor", "agreement_relative", "determiner_noun", "tense"):
        for item in made.tasks[task]:
            assert read(item.options[0]) is not None
            assert read(item.options[1]) is None
