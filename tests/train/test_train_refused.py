"""What a training refuses before its first step: each fault with its rule, value and remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ablab.errors import InputError
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train.ranks import check_devices
from ablab.train.resume import ResumeStates, began_with
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]


def test_text_for_less_than_one_step_is_refused(make_context: MakeContext) -> None:
    """The streams hold 43 blocks of real and 18 of synthetic text."""
    schedule = {"tokens_per_step": 16 * 48, "steps": 3}
    with pytest.raises(InputError, match=r"the real tokens make 43 blocks .* fewer than the 48 that one step takes"):
        train(make_context(schedule=schedule))
    with pytest.raises(InputError, match=r"the synthetic tokens make 18 blocks .* fewer than the 24 that one step"):
        train(make_context(schedule=schedule, share=0.5))
    train(make_context(schedule=schedule, share=0.375))


def test_devices_that_are_not_there_are_refused(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"needs 1 GPUs, and torch sees 0 here; use a machine that has them"):
        train(make_context(numerics=Numerics(device="cuda")))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, ranks, remedy in (("cuda", 4, "ranks=2"), ("cuda:3", 1, "device=cuda:1")):
        with pytest.raises(InputError, match=rf"needs 4 GPUs, and torch sees 2 here; go on with --numerics {remedy}"):
            check_devices(device, ranks)
    check_devices("cuda:1", 1)
    check_devices("cuda", 2)
    check_devices("cpu", 64)


def test_a_state_of_another_recipe_is_not_continued(trained: tuple[StageContext, dict[str, Any]]) -> None:
    """As when someone put another stage's working directory in the place of this one's."""
    settings = read_settings(trained[0])
    states = ResumeStates(trained[0].work, began_with("1" * 64, settings))
    found = states._find(checkpoints=None)  # type: ignore[arg-type]
    assert found["folder"] is None
    assert found["notes"] == [
        f"resume state step-00000012 not used: it was begun with key={'0' * 64!r} (now {'1' * 64!r})"
    ]


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({"tokens_per_step": 60}, "schedule.tokens_per_step=60 must be a multiple of model.context=16"),
        ({"checkpoint_every": 5}, "schedule.steps=12 must be a multiple of checkpoint_every=5"),
        ({"validation_tokens": 8}, "schedule.validation_tokens=8 must be at least model.context=16"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(
    schedule: dict[str, Any], told: str, make_context: MakeContext
) -> None:
    with pytest.raises(InputError, match=told):
        read_settings(make_context(schedule=schedule))
