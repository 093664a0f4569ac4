"""A training that ends at a step which was selected elsewhere, and declared checkpoints of a mixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablab.errors import InputError
from ablab.models.size import training_flops
from ablab.store.context import StageContext
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
DigestFiles = Callable[[Path], dict[str, str]]


class Stopped(Exception):
    """What ends a training from outside, in place of a kill."""


def lines(ctx: StageContext) -> list[str]:
    return (ctx.out / "curves.jsonl").read_text().splitlines()


def checkpoint_steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())


def interrupted_then_finished(ctx: StageContext, at: int, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    """Trains to step `at`, stops without warning, and trains again with what that left."""
    monkeypatch.setattr("ablab.train.loop.REPORT_SECONDS", 0.0)

    def stopping(*report: Any) -> None:
        if report[0] >= at:
            raise Stopped

    with pytest.raises(Stopped):
        train(StageContext(**{**vars(ctx), "progress": stopping}))
    again = StageContext(**{**vars(ctx), "out": ctx.out.with_name("again")})
    again.out.mkdir()
    train(again)
    return again


def test_a_training_until_a_step_is_the_beginning_of_the_whole_one_and_keeps_its_end(
    trained: tuple[StageContext, dict[str, Any]], make_context: MakeContext, digest_files: DigestFiles
) -> None:
    whole, full = trained
    ctx = make_context(until=6)
    result = train(ctx)
    assert lines(ctx) == lines(whole)[:6], "the learning rates are those of the whole schedule"
    assert checkpoint_steps(ctx.out) == [6]
    of_step = digest_files(whole.out / "checkpoints" / "step-00000006")
    assert digest_files(ctx.out / "checkpoints" / "step-00000006") == of_step
    assert result["checkpoints"] == [entry for entry in full["checkpoints"] if entry["step"] == 6]
    assert (result["real_blocks"], result["real_passes"]) == (24, pytest.approx(24 / 43))
    assert result["final_train_loss_nats"] == json.loads(lines(whole)[5])["train_loss_nats"]


def test_costs_and_progress_of_a_shorter_training_are_its_own(make_context: MakeContext) -> None:
    reports: list[tuple[int, int]] = []
    ctx = StageContext(
        **{**vars(make_context(until=6)), "progress": lambda *report: reports.append((report[0], report[1]))}
    )
    train(ctx)
    settings = read_settings(ctx)
    assert ctx.costs["tokens"] == 6 * 64
    assert ctx.costs["flops"] == training_flops(settings.model, settings.vocab_size, 6 * 64)
    assert reports[-1] == (6, 6)


def test_until_the_last_step_keeps_the_last_checkpoint_alone(
    trained: tuple[StageContext, dict[str, Any]], make_context: MakeContext
) -> None:
    ctx = make_context(until=12)
    train(ctx)
    assert checkpoint_steps(ctx.out) == [12]
    assert lines(ctx) == lines(trained[0])


def test_an_interrupted_training_until_a_step_ends_there_with_the_same_bytes(
    make_context: MakeContext, digest_files: DigestFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = make_context("whole", until=9), make_context("stopped", until=9)
    train(whole)
    again = interrupted_then_finished(stopped, 7, monkeypatch)
    assert stopped.costs["resumed_from_step"] == 6
    assert digest_files(again.out) == digest_files(whole.out)
    assert checkpoint_steps(stopped.work) == [9], "what came before is pruned as it goes"


@pytest.mark.parametrize("step", [0, 4, 15])
def test_a_step_that_is_no_checkpoint_of_the_schedule_is_refused(make_context: MakeContext, step: int) -> None:
    with pytest.raises(InputError, match=rf"until selected: {step} must be a checkpoint.*checkpoint_every=3 up to"):
        read_settings(make_context(until=step))


@pytest.mark.parametrize("learning_rate", [1e-2, 0.3])  # the last checkpoint is the best; an early one is
def test_a_mixture_keeps_declared_checkpoints_beside_best_and_last(
    make_context: MakeContext, digest_files: DigestFiles, monkeypatch: pytest.MonkeyPatch, learning_rate: float
) -> None:
    changes: dict[str, Any] = {"share": 0.5, "schedule": {"learning_rate": learning_rate, "warmup_steps": 0}}
    plain, keeping, stopped = (make_context(**changes, **more) for more in ({}, {"keep": [6]}, {"keep": [6]}))
    without, result = train(plain), train(keeping)
    steps = [entry["step"] for entry in result["checkpoints"]]
    assert steps == checkpoint_steps(keeping.out) == sorted({6, *(entry["step"] for entry in without["checkpoints"])})
    assert lines(keeping) == lines(plain)
    again = interrupted_then_finished(stopped, 8, monkeypatch)
    assert digest_files(again.out) == digest_files(keeping.out)
    assert set(checkpoint_steps(stopped.work)) == set(steps)


def test_what_is_declared_to_be_kept_must_be_a_checkpoint(make_context: MakeContext) -> None:
    with pytest.raises(InputError, match="keep: 5 must be a checkpoint"):
        read_settings(make_context(share=0.5, keep=[5]))
