"""BAD families: what each lowers to, what it depends on, and what is refused."""

from __future__ import annotations

import pytest
from recipes_helper import contrastive

from ablab.errors import InputError
from ablab.spec import Recipe, Replicate, Stage, edit, lower
from ablab.spec.check import recipe_faults
from ablab.spec.checkpoints import steps_needed

REPLICATE = Replicate(train_seed=42, generation_seed=1)
SMALL = {"layers": 1, "hidden": 16, "heads": 2, "ffn": 32}
SMALLER: dict[str, object] = {"kind": "smaller-model", "size": "half"}
DROPOUT: dict[str, object] = {"kind": "attention-dropout", "p": 0.3}


def against(bad: dict[str, object]) -> Recipe:
    edits = {"sizes": {"half": SMALL, "other": {**SMALL, "ffn": 48}}, "synthetic.bad": bad}
    return edit(contrastive(), edits)


def roles(recipe: Recipe, replicate: Replicate = REPLICATE) -> dict[str, Stage]:
    return dict(lower(recipe, replicate).roles)


def test_a_smaller_bad_is_trained_as_good_was_up_to_the_step_at_which_good_was_selected() -> None:
    found = roles(against(SMALLER))
    bad, good = found["bad_train"], found["good_train"]
    assert bad.inputs["until"].key == found["good_select"].key
    assert bad.params["model"]["hidden"] == 16
    assert bad.params["model"]["context"] == good.params["model"]["context"]
    assert {**bad.params, "model": None} == {**good.params, "model": None}
    assert found["generate"].inputs["bad"].key == bad.key
    assert found["bad_evaluate"].inputs["train"].key == bad.key


def test_the_name_of_a_size_is_no_identity_but_its_shape_is() -> None:
    renamed = edit(
        contrastive(), {"sizes": {"tiny": SMALL}, "synthetic.bad": {"kind": "smaller-model", "size": "tiny"}}
    )
    reshaped = against({"kind": "smaller-model", "size": "other"})
    key = roles(against(SMALLER))["evaluate"].key
    assert roles(renamed)["evaluate"].key == key
    assert roles(reshaped)["evaluate"].key != key


def test_declared_sizes_that_are_not_bad_change_no_key() -> None:
    with_sizes = edit(contrastive(), {"sizes": {"half": SMALL}})
    assert {r: s.key for r, s in roles(with_sizes).items()} == {r: s.key for r, s in roles(contrastive()).items()}


def test_attention_dropout_needs_no_other_training_and_has_no_evaluation_of_its_own() -> None:
    found = roles(against(DROPOUT))
    assert set(found) & {"bad_train", "bad_select", "bad_evaluate"} == set()
    assert set(found["generate"].inputs) == {"corpus", "tokenizer", "good", "select"}
    assert found["generate"].params["bad"] == DROPOUT


def test_strength_zero_drops_every_bad() -> None:
    silent = {"synthetic.decoding.strength": 0.0}
    keys = {roles(edit(against(bad), silent))["evaluate"].key for bad in (SMALLER, DROPOUT)}
    assert keys == {roles(edit(contrastive(), silent))["evaluate"].key}


def test_a_mixture_judged_at_a_declared_step_keeps_it() -> None:
    judged = edit(contrastive(), {"evaluation.selection": {"kind": "at-step", "step": 10}})
    last = edit(contrastive(), {"evaluation.selection": {"kind": "at-step", "step": 20}})
    assert recipe_faults(judged) == []
    assert roles(judged)["train"].params["keep"] == [10]
    assert "keep" not in roles(judged)["good_train"].params
    assert roles(last)["train"].key == roles(contrastive())["train"].key


def test_steps_needed_are_the_declared_ones_of_good_and_bad() -> None:
    found = roles(edit(contrastive(), {"good.selection": {"kind": "at-step", "step": 15}}))
    assert steps_needed(found["generate"]) == {"good": {5, 15}}
    assert steps_needed(found["bad_evaluate"]) == {"train": {5}}
    assert steps_needed(found["evaluate"]) == {"train": set()}
    assert steps_needed(roles(against(SMALLER))["generate"]) == {"good": set()}
    assert steps_needed(found["tokens"]) == {}


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"kind": "smaller-model", "size": "hlaf"}, "'hlaf' is not declared in sizes; did you mean 'half'"),
        ({"kind": "smaller-model", "size": "big"}, "BAD must be smaller"),
        ({"kind": "smaller-model", "size": "odd"}, "sizes.odd.hidden=15 must be a multiple of sizes.odd.heads=2"),
    ],
)
def test_a_size_that_is_undeclared_too_large_or_impossible_is_refused(bad: dict[str, object], expected: str) -> None:
    sizes = {"half": SMALL, "big": {**SMALL, "layers": 4, "hidden": 64, "ffn": 128}, "odd": {**SMALL, "hidden": 15}}
    found = recipe_faults(edit(contrastive(), {"sizes": sizes, "synthetic.bad": bad}))
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1])
def test_dropout_must_drop_something_and_keep_something(p: float) -> None:
    with pytest.raises(InputError, match="p"):
        against({"kind": "attention-dropout", "p": p})
