"""`mixture.hold`: what stays equal between shares, as pure lowering."""

from __future__ import annotations

import pytest
from recipes_helper import contrastive

from ablab.spec import Recipe, Replicate, edit, lower
from ablab.spec.amounts import amounts
from ablab.spec.check import recipe_faults
from ablab.spec.stages import Stage

REPLICATE = Replicate(train_seed=42, generation_seed=1)
HOLDS = ("compute", "real-passes")


def held(share: float, **more: object) -> Recipe:
    return edit(contrastive(), {"mixture.share": share, "mixture.hold": "real-passes", **more})


def roles(recipe: Recipe) -> dict[str, Stage]:
    return dict(lower(recipe, REPLICATE).roles)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_passes_over_real_text_are_those_of_share_zero_up_to_a_checkpoint(share: float) -> None:
    recipe = held(share)
    every, steps = recipe.schedule.checkpoint_every, roles(recipe)["train"].params["schedule"]["steps"]
    assert steps % every == 0
    assert -1e-9 <= steps * (1 - share) - recipe.schedule.steps < every * (1 - share) + 1e-9
    assert amounts(recipe).steps == steps


def test_a_share_is_the_decimal_number_that_was_declared() -> None:
    """20 / (1 - 0.2) is 25 exactly, not the next checkpoint above 25.000000000000004."""
    exact = held(0.2, **{"schedule.checkpoint_every": 5, "evaluation.selection": {"kind": "last-step"}})
    assert exact.arm_schedule().steps == 25


def test_only_the_training_of_the_mixture_gets_longer() -> None:
    one, other = roles(held(0.5)), roles(edit(contrastive(), {"mixture.share": 0.5}))
    longer = one["train"].params["schedule"]["steps"]
    assert longer == 2 * other["train"].params["schedule"]["steps"]
    assert {role for role in one if one[role].key != other[role].key} == {"train", "select", "evaluate"}


def test_holding_compute_and_holding_nothing_mixed_in_leave_every_key() -> None:
    assert roles(edit(contrastive(), {"mixture.hold": "compute"})) == roles(contrastive())
    real, lengthened = (roles(edit(one, {"mixture.share": 0.0})) for one in (contrastive(), held(0.5)))
    assert real == lengthened


def test_a_declared_step_of_a_lengthened_training_is_kept() -> None:
    recipe = held(0.5, **{"evaluation.selection": {"kind": "at-step", "step": contrastive().schedule.steps}})
    assert roles(recipe)["train"].params["keep"] == [contrastive().schedule.steps]


def test_passes_of_no_real_text_cannot_be_held() -> None:
    [fault] = recipe_faults(held(1.0))
    assert "mixture.share=1.0 leaves no real text" in fault
    assert recipe_faults(held(0.99)) == []


def test_amounts_say_what_holding_one_does_to_the_other() -> None:
    compute, passes = (amounts(edit(contrastive(), {"mixture.share": 0.5, "mixture.hold": hold})) for hold in HOLDS)
    assert (compute.real_passes_ratio, passes.real_passes_ratio) == (0.5, 1.0)
    assert passes.tokens == 2 * compute.tokens
    assert passes.synthetic_passes == pytest.approx(2 * (compute.synthetic_passes or 0.0))
    assert compute.real_passes(compute.tokens) == 0.5
    assert amounts(edit(contrastive(), {"mixture.share": 0.0})).synthetic_passes is None
