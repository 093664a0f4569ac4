"""What checkpoints measured is told as it is known, and a training that is stopped at one goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ablab.store.context import StageContext
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]


class Stopped(Exception):
    pass


def attempt(ctx: StageContext, number: int, measured: Callable[[int, Mapping[str, float]], None]) -> StageContext:
    out = ctx.out.with_name(f"out-{number}")
    out.mkdir()
    return StageContext(**{**vars(ctx), "out": out, "measured": measured})


def test_a_training_that_is_stopped_at_a_checkpoint_goes_on_from_it_and_tells_all_losses_again(
    make_context: MakeContext,
    trained: tuple[StageContext, dict[str, Any]],
    digest_files: Callable[[Path], dict[str, str]],
) -> None:
    told: list[tuple[int, Mapping[str, float]]] = []

    def stop(step: int, values: Mapping[str, float]) -> None:
        told.append((step, values))
        raise Stopped

    ctx = make_context("stopped")
    with pytest.raises(Stopped):
        train(attempt(ctx, 1, stop))
    (first,) = told
    told.clear()
    again = attempt(ctx, 2, lambda step, values: told.append((step, values)))
    train(again)
    assert again.costs["resumed_from_step"] == first[0] > 0
    assert told[0] == first
    points = [json.loads(line) for line in (again.out / "curves.jsonl").read_text().splitlines()]
    name = "validation_loss_nats"
    assert told == [(point["step"], {name: point[name]}) for point in points if name in point]
    assert len(told) > 2
    assert digest_files(again.out) == digest_files(trained[0].out)
