"""What one more replicate costs, from the recorded costs of stages."""

from __future__ import annotations

import pytest

from ablab.cli.main import parser
from ablab.cli.power import hours_per_replicate, power
from ablab.errors import InputError

ROLES = {
    "real": [
        {"corpus": ("corpus", "c"), "train": ("train", "r1")},
        {"corpus": ("corpus", "c"), "train": ("train", "r2")},
    ],
    "mixed": [
        {"corpus": ("corpus", "c"), "good_train": ("train", "r1"), "train": ("train", "m1")},
        {"corpus": ("corpus", "c"), "good_train": ("train", "r1"), "train": ("train", "m2")},
    ],
}
HOURS = {"c": 50.0, "r1": 7.0, "r2": 1.0, "m1": 2.0, "m2": 4.0}


def test_what_replicates_share_costs_nothing_more() -> None:
    assert hours_per_replicate(ROLES, HOURS, {"mixed"}) == pytest.approx((2 + 4) / 2)


def test_a_training_that_is_also_good_is_no_measure_of_a_new_replicate() -> None:
    # r1 is GOOD of both replicates; another replicate needs a training as the second has it.
    assert hours_per_replicate(ROLES, HOURS, {"real", "mixed"}) == pytest.approx(1 + 4)


def test_a_stage_that_is_not_finished_costs_what_others_of_its_role_do() -> None:
    hours = {key: value for key, value in HOURS.items() if key != "m2"}
    assert hours_per_replicate(ROLES, hours, {"mixed"}) == pytest.approx((2 + 2) / 2)


def test_without_any_recorded_stage_nothing_is_claimed() -> None:
    assert hours_per_replicate(ROLES, {}, {"mixed"}) is None


@pytest.mark.parametrize("effect", ["0", "-1", "nan"])
def test_an_effect_must_be_above_zero(effect: str) -> None:
    arguments = parser().parse_args(["power", "contrastive-vs-masked", f"--effect={effect}"])
    with pytest.raises(InputError, match="must be above 0"):
        power(arguments)
