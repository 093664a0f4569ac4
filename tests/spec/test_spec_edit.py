"""Edits are validated, whole faults are reported together, and errors name the variant and the nearest path."""

from __future__ import annotations

import pytest
from recipes_helper import contrastive

from ablab.errors import InputError
from ablab.spec import Numerics, Recipe, edit
from ablab.spec.check import recipe_faults
from ablab.spec.edit import dump, parse_set
from experiments.scales import tiny


def faults(recipe: Recipe, **edits: object) -> str:
    with pytest.raises(InputError) as caught:
        edit(recipe, edits)
    return str(caught.value)


def test_edit_changes_only_the_named_leaf() -> None:
    before, after = dump(tiny()), dump(edit(tiny(), {"schedule.learning_rate": 0.5}))
    before["schedule"]["learning_rate"] = 0.5
    assert before == after


def test_a_variant_is_replaced_whole_and_its_leaves_can_follow_in_one_edit() -> None:
    edited = edit(tiny(), {"evaluation.selection": {"kind": "at-step", "step": 5}, "evaluation.selection.step": 10})
    assert dump(edited)["evaluation"]["selection"] == {"kind": "at-step", "step": 10}


def test_an_unknown_path_names_the_nearest() -> None:
    assert "schedule.learning_rate" in faults(tiny(), **{"schedule.learning_rat": 1.0})


def test_a_path_into_an_absent_variant_says_to_replace_it_whole() -> None:
    message = faults(tiny(), **{"synthetic.decoding.top_k": 5})
    assert "synthetic is null" in message
    assert "whole" in message


def test_a_path_of_another_variant_names_the_variant_that_is_present() -> None:
    message = faults(tiny(), **{"good.selection.step": 5})
    assert "lowest-validation-loss" in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mixture.share", 1.5),
        ("mixture.share", "half"),
        ("schedule.steps", 0),
        ("schedule.steps", 10.5),
        ("precision", "fp8"),
        ("tokenizer.vocab_size", 10),
        ("model", {"layers": 2}),
        ("model.rope_theta", 0.0),
        ("schedule.learning_rate", 11.0),
        ("schedule.beta1", 1.0),
        ("schedule.beta2", -0.1),
        ("schedule.epsilon", 0.0),
        ("schedule.clip_norm", 0.0),
    ],
)
def test_wrong_types_and_ranges_are_refused(path: str, value: object) -> None:
    assert path in faults(tiny(), **{path: value})


def test_every_fault_of_one_edit_is_reported_together() -> None:
    message = faults(tiny(), **{"mixture.share": 2.0, "schedule.steps": -1, "precision": "fp8"})
    assert all(name in message for name in ("mixture.share", "schedule.steps", "precision"))


def test_an_edit_never_changes_its_input() -> None:
    recipe = tiny()
    before = dump(recipe)
    edit(recipe, {"mixture.share": 0.0, "schedule.steps": 40})
    assert dump(recipe) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mixture.share=0.5", ("mixture.share", 0.5)),
        ("precision=bf16", ("precision", "bf16")),
        ("synthetic=null", ("synthetic", None)),
        ('good.selection={"kind":"last-step"}', ("good.selection", {"kind": "last-step"})),
    ],
)
def test_set_values_are_json_or_bare_words(text: str, expected: tuple[str, object]) -> None:
    assert parse_set(text) == expected


@pytest.mark.parametrize("depth", [33, 500, 100_000])
@pytest.mark.parametrize(("opening", "inside", "closing"), [("[", "", "]"), ('{"a":', "0", "}")])
def test_set_of_a_deeply_nested_value_is_refused(depth: int, opening: str, inside: str, closing: str) -> None:
    with pytest.raises(InputError, match="synthetic: the value is nested deeper"):
        parse_set(f"synthetic={opening * depth}{inside}{closing * depth}")


def test_set_of_a_number_that_python_does_not_read_is_a_word_and_no_step() -> None:
    path, value = parse_set("schedule.steps=" + "9" * 5_000)
    assert "valid integer" in faults(tiny(), **{path: value})


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_device_is_a_processor_or_a_card(device: str) -> None:
    assert edit(Numerics(), {"device": device}).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:01", "CPU", "cuda\n", ""])
def test_another_device_is_refused_with_those_there_are(device: str) -> None:
    with pytest.raises(InputError, match="must be 'cpu', 'cuda' or 'cuda:<n>'"):
        edit(Numerics(), {"device": device}, "--numerics")


@pytest.mark.parametrize("text", ["mixture.share", "=3", ""])
def test_set_without_path_and_value_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="PATH=VALUE"):
        parse_set(text)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({"schedule.tokens_per_step": 100}, "try 128"),
        ({"schedule.warmup_steps": 20}, "warmup_steps=20 must be less than"),
        ({"schedule.checkpoint_every": 7}, "multiple of schedule.checkpoint_every=7"),
        ({"model.heads": 3}, "multiple of model.heads=3"),
        ({"synthetic.bad.step": 7}, "must be a checkpoint"),
        ({"synthetic.bad.step": 25}, "must be a checkpoint: a multiple of schedule.checkpoint_every=5"),
        ({"synthetic.bad.step": 25}, "try 15"),
        ({"synthetic.bad.step": 20}, "must be earlier than the last step schedule.steps=20"),
        ({"synthetic.bad.step": 20}, "try 15"),
        ({"synthetic.bad.step": 20, "schedule.checkpoint_every": 20}, "lower schedule.checkpoint_every=20"),
        ({"synthetic.bad.step": 15, "good.selection": {"kind": "at-step", "step": 10}}, "declared step 10; try 5"),
        ({"evaluation.selection": {"kind": "at-step", "step": 5 * 10**400}}, "try 20"),
        ({"schedule.validation_tokens": 63}, "must be at least model.context=64; try 64"),
        ({"evaluation.test_tokens": 1}, "must be at least 2"),
        ({"synthetic.prompts.tokens": 64}, "lower prompts.tokens"),
        ({"synthetic.prompts.tokens": 63}, "try new_tokens=1"),
        ({"synthetic.bad": None}, "needs a BAD model"),
        ({"good.selection": {"kind": "at-step", "step": 5}}, "must be earlier than GOOD's declared step 5"),
        ({"synthetic.prompts.new_tokens": 100}, "must fit model.context=64"),
        ({"synthetic": None}, "needs synthetic text"),
    ],
)
def test_cross_field_rules_state_rule_value_and_remedy(edits: dict[str, object], expected: str) -> None:
    found = recipe_faults(edit(contrastive(), edits))
    assert any(expected in fault for fault in found), found


def test_cross_field_faults_are_reported_together() -> None:
    edits = {"schedule.tokens_per_step": 100, "schedule.warmup_steps": 30, "model.heads": 3}
    assert len(recipe_faults(edit(tiny(), edits))) == 3


def test_the_shipped_recipes_have_no_fault() -> None:
    assert recipe_faults(contrastive()) == []
