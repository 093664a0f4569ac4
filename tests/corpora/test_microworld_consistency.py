"""The factual-consistency rate: 1 on true stories, lower on false ones, and no verdict on garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablab.corpora.microworld import Consistency, consistency, documents
from ablab.corpora.microworld.story import SPLITS
from ablab.corpora.microworld.world import build

WORLD = build(0)
GIRL, BOY = WORLD.girls[0], WORLD.boys[0]
THING, OTHER_THING = WORLD.objects[:2]
BOX, BAG = WORLD.containers[:2]
KIND = next(iter(WORLD.kinds))
FOOD = WORLD.kinds[KIND].food
WRONG_FOOD = next(food for food in WORLD.foods if food != FOOD)
PLACE, ELSEWHERE = WORLD.places[:2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("split", SPLITS)
def test_the_generators_own_stories_are_read_whole_and_true(seed: int, split: str) -> None:
    found = consistency(seed, documents(seed, 15_000, split))
    assert found.rate == 1.0
    assert found.unparsed == 0
    assert found.statements > 0.35 * found.sentences


def test_stories_with_swapped_words_are_less_true() -> None:
    stories = list(documents(0, 20_000, "train"))
    for first, second in ((BOX, BAG), (GIRL, BOY), (FOOD, WRONG_FOOD), (PLACE, ELSEWHERE)):
        half = [_swap(text, first, second) if i % 2 else text for i, text in enumerate(stories)]
        once = [_replace_second(text, first, second) for text in half]
        rate = consistency(0, once).rate
        assert rate is not None
        assert rate < 0.99, (first, second)


def _swap(text: str, first: str, second: str) -> str:
    return text.replace(first, "\0").replace(second, first).replace("\0", second)


def _replace_second(text: str, first: str, second: str) -> str:
    """The second mention of a word becomes the other word."""
    head, found, rest = text.partition(first)
    return head + found + rest.replace(first, second, 1)


def test_stories_of_another_world_with_the_same_words_are_false() -> None:
    """Every fact about food told by the food of another kind."""
    wrong = {p.food: q.food for p, q in zip(WORLD.kinds.values(), [*WORLD.kinds.values()][1:], strict=False)}
    stories = [f"Every {kind} eats {wrong.get(p.food, WRONG_FOOD)}." for kind, p in WORLD.kinds.items()]
    found = consistency(0, stories)
    assert found.statements == len(stories)
    assert found.contradicted >= len(stories) - 2


@pytest.mark.parametrize(
    ("text", "true", "contradicted"),
    [
        (f"Every {KIND} eats {FOOD}.", 1, 0),
        (f"Every {KIND} eats {WRONG_FOOD}.", 0, 1),
        (f"{GIRL} sees a {KIND}. It eats {FOOD}. It eats {WRONG_FOOD}.", 1, 1),
        (f"It eats {FOOD}.", 0, 0),
        (f"What do {KIND}s eat? {FOOD}.", 1, 0),
        (f"The {THING} is in the {BOX}.", 0, 0),
        (f"The {THING} is in the {BOX}. The {THING} is in the {BAG}.", 0, 1),
        (f"{BOY} puts the {THING} in the {BOX}. Where is the {THING}? It is in the {BOX}.", 1, 0),
        (f"{BOY} puts the {THING} in the {BOX}. Where is the {THING}? It is in the {BAG}.", 0, 1),
        (f"{BOY} puts the {THING} in the {BOX}. {GIRL} takes the {THING} from the {BAG}.", 0, 1),
        (f"{GIRL} has the {THING}. {BOY} gives the {THING} to {GIRL}.", 0, 1),
        (f"{GIRL} has the {THING}. Who has the {THING}? {GIRL}. Who has the {THING}? {BOY}.", 1, 1),
        (f"{GIRL} has the {THING}. Who has the {OTHER_THING}? {BOY}.", 0, 0),
        (f"{GIRL} sees {BOY} in the {PLACE}. Who does {GIRL} see? {BOY}.", 1, 0),
        (f"{GIRL} sees {BOY} in the {PLACE}. Who does {GIRL} see? The {THING}.", 0, 1),
        (f"{GIRL} sees {BOY} in the {PLACE}. {BOY} sees {GIRL} in the {ELSEWHERE}.", 0, 1),
        (f"{GIRL} goes to the {PLACE}. She is near the {WORLD.neighbours[PLACE]}.", 1, 0),
        (f"{GIRL} goes to the {PLACE}. She is near the {PLACE}.", 0, 1),
        (f"{GIRL} lives in the {WORLD.homes[GIRL]}. {GIRL} likes {WORLD.favourites[GIRL]}.", 2, 0),
    ],
)
def test_a_statement_is_decided_by_the_world_and_by_what_was_told(text: str, true: int, contradicted: int) -> None:
    found = consistency(0, [text])
    assert (found.true, found.contradicted, found.unparsed) == (true, contradicted, 0)


def test_what_one_text_tells_is_unknown_to_the_next() -> None:
    texts = [f"The {THING} is in the {BOX}.", f"The {THING} is in the {BAG}."]
    assert consistency(0, texts) == Consistency(0, 0, 0, 0, 2)


def test_texts_without_statements_have_no_rate() -> None:
    assert consistency(0, []).rate is None
    assert consistency(0, ["", "xyzzy plugh", f"{GIRL} is hungry."]) == Consistency(0, 0, 0, 1, 2)


@pytest.mark.parametrize(
    "damaged",
    [f"every {KIND} eats{FOOD}.", f"Every {KIND} eats {FOOD}", f"Every {KIND} (eats) {FOOD}.", "....", "? ."],
)
def test_a_damaged_sentence_is_unparsed_and_no_statement(damaged: str) -> None:
    found = consistency(0, [damaged])
    assert found.statements == 0
    assert found.unparsed == found.sentences > 0


VOCABULARY = sorted({word for text in documents(0, 3_000, "train") for word in text.split()})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(VOCABULARY), st.text(max_size=5)), max_size=40))
def test_any_text_is_counted_without_an_error(tokens: list[str]) -> None:
    found = consistency(0, [" ".join(tokens)])
    assert found.true + found.contradicted == found.statements <= found.sentences - found.unparsed
