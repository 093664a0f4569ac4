"""A training that was interrupted goes on with another number of processes: the same losses within rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ablab.models.llama import load_checkpoint
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
SCRIPT = Path(__file__).parent / "several_ranks.py"
PARTS = [("fp32", 0), ("fp32", 3), ("bf16", 1)]
STOP = 6


class Stopped(Exception):
    """Ends a training from outside."""


def stop(*measured: Any) -> None:
    if measured[0] == STOP:
        raise Stopped


def entry(ctx: StageContext, **more: Any) -> dict[str, Any]:
    return {
        "params": ctx.params,
        "numerics": ctx.numerics.model_dump(),
        "work": str(ctx.work),
        "out": str(ctx.out),
        **more,
    }


def again(ctx: StageContext, **changes: Any) -> StageContext:
    """The next try of the same stage: the same work, an empty directory for its files."""
    out = ctx.out.with_name("again")
    out.mkdir()
    return StageContext(**{**vars(ctx), "out": out, "costs": {}, "record": {}, "measured": lambda *_: None, **changes})


Contexts = dict[str, StageContext]


@pytest.fixture(scope="module")
def reshaped(make_context: MakeContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[Contexts, Contexts]:
    """Trainings begun by one process and ended by two, and begun by two and stopped behind a checkpoint."""
    grown, stopped = {}, {}
    for precision, stage in PARTS:
        name, numerics = f"{precision}-{stage}", Numerics(ranks=1, micro_batch=1, zero_stage=stage)
        one = make_context(f"grown-{name}", precision=precision, numerics=numerics)
        with pytest.raises(Stopped):
            train(StageContext(**{**vars(one), "measured": stop}))
        two = numerics.model_copy(update={"ranks": 2})
        grown[name] = again(one, numerics=two)
        stopped[name] = make_context(f"stopped-{name}", precision=precision, numerics=two)
    entries = [entry(c) for c in grown.values()] + [entry(c, stop_after=STOP) for c in stopped.values()]
    folder = tmp_path_factory.mktemp("reshaped")
    inputs = {name: str(path) for name, path in next(iter(grown.values())).inputs.items()}
    (folder / "plan.json").write_text(json.dumps({"inputs": inputs, "trainings": entries}))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    commands = [
        [sys.executable, str(SCRIPT), str(folder / "plan.json"), str(rank), "2", str(folder / "meeting")]
        for rank in (0, 1)
    ]
    ranks = [subprocess.Popen(command, env=environment) for command in commands]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    return grown, stopped


@pytest.fixture(scope="module")
def undisturbed(make_context: MakeContext) -> dict[str, StageContext]:
    contexts = {precision: make_context(f"whole-{precision}", precision=precision) for precision in ("fp32", "bf16")}
    for ctx in contexts.values():
        train(ctx)
    return contexts


def losses(ctx: StageContext) -> list[float]:
    points = [json.loads(line) for line in (ctx.out / "curves.jsonl").read_text().splitlines()]
    return [point[name] for point in points for name in ("train_loss_nats", "validation_loss_nats") if name in point]


def assert_equal_within_rounding(found: StageContext, expected: StageContext, precision: str) -> None:
    assert losses(found) == pytest.approx(losses(expected), abs={"fp32": 1e-4, "bf16": 2e-2}[precision])
    if precision == "fp32":  # weights too: decay reaches losses late
        last = "checkpoints/step-00000012"
        weights = load_checkpoint(found.out / last).state_dict()
        for name, weight in load_checkpoint(expected.out / last).state_dict().items():
            assert torch.allclose(weights[name], weight, atol=2e-4), name


@pytest.mark.parametrize(("precision", "stage"), PARTS)
def test_what_one_process_began_two_go_on_with(
    precision: str, stage: int, reshaped: tuple[Contexts, Contexts], undisturbed: dict[str, StageContext]
) -> None:
    assert_equal_within_rounding(reshaped[0][f"{precision}-{stage}"], undisturbed[precision], precision)


@pytest.mark.parametrize(("precision", "stage"), PARTS)
def test_what_two_processes_began_one_goes_on_with(
    precision: str, stage: int, reshaped: tuple[Contexts, Contexts], undisturbed: dict[str, StageContext]
) -> None:
    stopped = reshaped[1][f"{precision}-{stage}"]
    notes: list[str] = []
    alone = stopped.numerics.model_copy(update={"ranks": 1})
    ctx = again(stopped, numerics=alone, progress=lambda *told: notes.append(told[3]))
    train(ctx)
    assert ctx.costs["resumed_from_step"] == STOP
    assert_equal_within_rounding(ctx, undisturbed[precision], precision)
    assert any("saved by ranks=2, now 1: equal within rounding" in note for note in notes)
    assert ctx.record["other_ranks"] == {str(STOP): 2}
    left = [path.name for path in (ctx.work / "resume").iterdir()]
    assert left == ["step-00000012"]
