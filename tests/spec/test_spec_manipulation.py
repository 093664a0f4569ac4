"""Which arms are checked against each other before any of them is sampled, and what the check is known by."""

from __future__ import annotations

from typing import Any

import pytest
from recipes_helper import contrastive

from ablab.spec import Recipe, Replicate, Stage, edit
from ablab.spec.ablation import Arm, Design
from ablab.spec.checkpoints import steps_needed
from ablab.spec.manipulation import ROLE, distribution, distributions, lower_design

PAIR = (Replicate(train_seed=1, generation_seed=1), Replicate(train_seed=2, generation_seed=2))
MASKED = {"synthetic.decoding.strength": 0.0}
LATER = {"synthetic.bad.step": 10}
TEXT = {
    "seeds": {},
    "where texts stop": {"synthetic.decoding.stop_at_eos": True},
    "what is kept of them": {"synthetic.decoding.keep_prompt": False},
    "how many words": {"synthetic.tokens": 4_000},
    "which prompts": {"synthetic.prompts.tokens": 4},
    "which texts are left out": {"synthetic.duplicates": {"kind": "exact"}},
    "how much is trained on": {"mixture.share": 0.5},
    "a BAD without effect": {"synthetic.decoding.bad_temperature": 1.0},
}


def design(arms: dict[str, dict[str, Any]], recipe: Recipe | None = None, offset: int = 0) -> Design:
    """Arms that are edits of a contrastive control."""
    made = tuple(Arm(name=name, edits=edits, seed_offset=offset) for name, edits in arms.items())
    return Design(control="control", recipe=recipe or contrastive(), arms=made, replicates=PAIR, claims=())


def checks(arms: dict[str, dict[str, Any]], **more: Any) -> list[dict[str, Stage | None]]:
    """By replicate and arm."""
    made = design(arms, **more)
    lowered = lower_design(made, made.recipes())
    return [{arm: of[position].roles.get(ROLE) for arm, of in lowered.items()} for position in range(len(PAIR))]


def one_check(arms: dict[str, dict[str, Any]]) -> Stage:
    """The same for every arm and replicate."""
    stages = [stage for of in checks(arms) for stage in of.values()]
    assert all(stage is not None for stage in stages)
    assert len({stage.key for stage in stages if stage is not None}) == 1
    assert stages[0] is not None
    return stages[0]


def test_one_check_serves_every_arm_and_every_replicate_of_one_good() -> None:
    stage = one_check({"masked": MASKED, "later": LATER})
    assert stage.kind == ROLE
    assert len(stage.params["distributions"]) == 3


def test_the_key_depends_neither_on_names_nor_on_the_order_of_arms() -> None:
    key = one_check({"masked": MASKED, "later": LATER}).key
    assert one_check({"zz": LATER, "aa": MASKED}).key == key
    turned = design({"control-of-then": {"synthetic.bad.step": 5}, "masked": MASKED}, edit(contrastive(), LATER))
    assert lower_design(turned, turned.recipes())["masked"][0].roles[ROLE].key == key


def test_another_arm_gives_another_check_and_leaves_the_corpora_what_they_are() -> None:
    few, more = design({"masked": MASKED}), design({"masked": MASKED, "later": LATER})
    before, after = (lower_design(one, one.recipes())["masked"][0].roles for one in (few, more))
    assert before[ROLE].key != after[ROLE].key
    assert {r: s.key for r, s in before.items() if r != ROLE} == {r: s.key for r, s in after.items() if r != ROLE}


@pytest.mark.parametrize("what", TEXT)
def test_arms_that_differ_in_anything_but_the_distribution_are_not_checked(what: str) -> None:
    offset = 100 if what == "seeds" else 0
    assert all(stage is None for of in checks({"other": TEXT[what]}, offset=offset) for stage in of.values())


@pytest.mark.parametrize(
    "edits",
    [
        MASKED,
        LATER,
        {"synthetic.bad": {"kind": "attention-dropout", "p": 0.3}},
        {"synthetic.decoding.alpha": 0.2},
        {"synthetic.decoding.temperature": 0.9},
        {"synthetic.decoding.bad_temperature": 0.9},
        {"synthetic.decoding.top_k": 5},
        {"synthetic.decoding.top_p": 0.5},
    ],
)
def test_arms_that_differ_in_bad_or_in_how_words_are_weighed_are_checked(edits: dict[str, Any]) -> None:
    assert len(one_check({"other": edits, "text": {"synthetic.tokens": 4_000}}).params["distributions"]) == 2


def test_one_arm_with_synthetic_text_is_checked_against_nothing() -> None:
    assert all(stage is None for of in checks({"real": {"mixture.share": 0.0}}) for stage in of.values())
    assert checks({}) == [{"control": None}] * len(PAIR)


def test_arms_of_other_text_or_another_tokenizer_are_checked_apart() -> None:
    vocabulary = {"tokenizer.vocab_size": 400}
    found = checks({"masked": MASKED, "other": vocabulary, "other-masked": {**MASKED, **vocabulary}})[0]
    keys = {name: stage.key for name, stage in found.items() if stage is not None}
    assert keys["control"] == keys["masked"] != keys["other"] == keys["other-masked"]
    assert checks({"masked": MASKED, "other": vocabulary})[0]["other"] is None


def test_replicates_with_a_good_of_their_own_are_checked_one_by_one() -> None:
    found = checks({"masked": MASKED}, recipe=edit(contrastive(), {"good.per_replicate": True}))
    first, second = (of["masked"] for of in found)
    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_a_generation_is_found_again_among_what_the_check_measures() -> None:
    made = design({"masked": MASKED, "later": LATER})
    for arm, replicates in lower_design(made, made.recipes()).items():
        roles = replicates[0].roles
        measured = distributions(roles[ROLE].identity)
        assert len(measured) == 3
        assert measured.count(distribution(roles["generate"].identity)) == 1, arm
        assert list(roles).index(ROLE) + 1 == list(roles).index("generate")


def test_the_check_reads_the_steps_that_the_generations_read() -> None:
    stage = one_check({"masked": MASKED, "later": LATER})
    steps = [steps for name, steps in steps_needed(stage).items() if name.startswith("good_")]
    assert sorted(map(sorted, steps)) == [[], [5], [10]]
