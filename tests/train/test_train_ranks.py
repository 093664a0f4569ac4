"""Several processes train one model: the same losses within rounding, and nothing left when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from process_helper import alive, below, wait_until

from ablab.errors import InputError, RunError
from ablab.models.llama import load_checkpoint
from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train import launch
from ablab.train.launch import RANK, Rank, watch
from ablab.train.settings import read_settings
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
DigestFiles = Callable[[Path], dict[str, str]]
SCRIPT = Path(__file__).parent / "several_ranks.py"
PARTS = [("fp32", 0), ("fp32", 1), ("fp32", 2), ("fp32", 3), ("bf16", 1), ("bf16", 2), ("bf16", 3)]
LONGER = {"schedule": {"steps": 30, "validation_tokens": 96}}  # six blocks: the last turn is of one rank alone
TWO = Numerics(ranks=2, micro_batch=1, threads=2)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments)], env=environment)


def write_plan(path: Path, *contexts: StageContext) -> Path:
    trainings = [
        {"params": c.params, "numerics": c.numerics.model_dump(), "work": str(c.work), "out": str(c.out)}
        for c in contexts
    ]
    path.write_text(json.dumps({"inputs": contexts[0].inputs, "trainings": trainings}, default=str))
    return path


@pytest.fixture(scope="module")
def by_two(make_context: MakeContext, tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageContext]:
    """Trainings of two real processes by name, all in one launch."""
    contexts = {
        f"{precision}-{stage}": make_context(
            f"{precision}-{stage}", precision=precision, numerics=TWO.model_copy(update={"zero_stage": stage})
        )
        for precision, stage in PARTS
    }
    contexts["longer"] = make_context("longer", numerics=TWO, **LONGER)
    folder = tmp_path_factory.mktemp("two")
    plan = write_plan(folder / "plan.json", *contexts.values())
    ranks = [start(plan, rank, 2, folder / "meeting") for rank in (0, 1)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    return contexts


def points(ctx: StageContext, name: str) -> list[float]:
    read = [json.loads(line) for line in (ctx.out / "curves.jsonl").read_text().splitlines()]
    return [point[name] for point in read if name in point]


@pytest.mark.parametrize(("precision", "stage"), PARTS)
def test_two_processes_train_as_one_at_every_zero_stage(
    precision: str,
    stage: int,
    by_two: dict[str, StageContext],
    trained: tuple[StageContext, dict[str, Any]],
) -> None:
    """Both accumulate gradients over two micro-batches; one process takes the four blocks of a step at once."""
    alone, result = trained
    together = by_two[f"{precision}-{stage}"]
    near = {"fp32": 1e-4, "bf16": 2e-2}[precision]
    for name in ("train_loss_nats", "validation_loss_nats"):
        assert points(together, name) == pytest.approx(points(alone, name), abs=near)
    assert points(together, "gradient_norm") == pytest.approx(points(alone, "gradient_norm"), rel=50 * near)
    assert points(together, "learning_rate") == points(alone, "learning_rate")
    read = json.loads((together.out / "result.json").read_text())
    for name in ("real_blocks", "parameters", "real_passes"):
        assert read[name] == result[name]
    assert [one["step"] for one in read["checkpoints"]] == [one["step"] for one in result["checkpoints"]]
    if precision == "fp32":
        weights = load_checkpoint(together.out / "checkpoints" / "step-00000012").state_dict()
        for name, weight in load_checkpoint(alone.out / "checkpoints" / "step-00000012").state_dict().items():
            assert torch.allclose(weights[name], weight, atol=1e-3), name


def test_zero_stages_of_two_processes_agree(by_two: dict[str, StageContext]) -> None:
    losses = [points(by_two[f"fp32-{stage}"], "train_loss_nats") for stage in range(4)]
    assert all(one == pytest.approx(losses[0], abs=2e-5) for one in losses[1:])


def test_a_killed_training_of_two_processes_leaves_none_and_resumes_bit_by_bit(
    by_two: dict[str, StageContext], make_context: MakeContext, tmp_path: Path, digest_files: DigestFiles
) -> None:
    ctx = make_context("killed", numerics=TWO, **LONGER)
    parent = start(write_plan(tmp_path / "plan.json", ctx))
    wait_until(lambda: (ctx.work / "resume" / "step-00000003").exists())
    children = below(parent.pid, RANK)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert len(children) == 2
    wait_until(lambda: not any(map(alive, children)), 20.0)
    again = StageContext(**{**vars(ctx), "out": ctx.out.with_name("again"), "costs": {}})
    again.out.mkdir()
    reports: list[tuple[int, int]] = []
    result = train(StageContext(**{**vars(again), "progress": lambda *told: reports.append((told[0], told[1]))}))
    assert again.costs["resumed_from_step"] >= 3
    assert again.costs["tokens"] == 30 * 64
    assert reports[-1] == (30, 30)
    whole = by_two["longer"]
    assert result == json.loads((whole.out / "result.json").read_text())
    (whole.out / "result.json").unlink()
    assert digest_files(again.out) == digest_files(whole.out)
    assert not list(ctx.work.glob("meeting-*"))


def test_a_rank_that_dies_is_named_and_takes_the_others_with_it(make_context: MakeContext) -> None:
    ctx = make_context("dying", numerics=TWO)
    seen: list[int] = []

    def kill_the_second() -> None:
        wait_until(lambda: len(below(os.getpid(), RANK)) == 2)
        seen.extend(below(os.getpid(), RANK))
        os.kill(seen[1], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_second)
    killer.start()
    with pytest.raises(RunError, match=r"rank 1 of 2 died: signal SIGKILL \(out of memory\?\)"):
        train(ctx)
    killer.join()
    assert not any(map(alive, seen))


FAILING = """
from ablab.errors import RunError
from ablab.train.engine import Engine
from ablab.train.rank import main
step = Engine._step
def without_room(self, blocks):
    if self.ranks.rank == 1:
        raise FAULT
    return step(self, blocks)
Engine._step = without_room
"""


@pytest.mark.parametrize(
    ("fault", "told", "remedy"),
    [
        (
            "MemoryError('no room')",
            "out of memory at micro_batch=2 .*no room",
            "micro_batch=1 might fit: --numerics micro_batch=1",
        ),
        ("OSError(28, 'disk is full')", "disk is full", "free space, then run the same command"),
    ],
)
def test_what_goes_wrong_in_another_rank_than_the_first_is_told_with_its_remedy(
    fault: str, told: str, remedy: str, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waits for it in a collective meanwhile."""
    (tmp_path / "failing_rank.py").write_text(FAILING.replace("FAULT", fault))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(launch, "RANK", "failing_rank")
    with pytest.raises(RunError, match=told) as failed:
        train(make_context(numerics=TWO.model_copy(update={"micro_batch": 2})))
    assert failed.value.remedy == remedy


def watched(ctx: StageContext, first: str, second: str = "") -> dict[str, Any]:
    """What two processes that do nothing but write these events to their pipe make of a training."""
    ranks = []
    for number, code in enumerate((first, second)):
        read, write = os.pipe()
        text = f"import os, sys; tell = lambda line: os.write({write}, line.encode() + b'\\n'); {code}"
        process = subprocess.Popen([sys.executable, "-c", text], pass_fds=(write,))
        os.close(write)
        ranks.append(Rank(number, process, os.fdopen(read, "rb")))
    try:
        return watch(ranks, ctx)
    finally:
        for rank in ranks:
            rank.process.wait()
            rank.events.close()


def test_what_the_first_rank_tells_is_told_as_of_one_process(make_context: MakeContext) -> None:
    told: list[tuple[Any, ...]] = []
    hearing = {"progress": lambda *report: told.append(report), "measured": lambda *report: told.append(report)}
    ctx = StageContext(**{**vars(make_context()), **hearing})
    code = """
tell('{"progress": [3, 12, "step", "loss 2.00"]}')
tell('{"measured": [3, {"validation_loss_nats": 2.5}]}')
tell('{"result": {}, "costs": {}}')"""
    ended = watched(ctx, code)
    assert ended == {"result": {}, "costs": {}}
    assert told == [(3, 12, "step", "loss 2.00"), (3, {"validation_loss_nats": 2.5})]
    with pytest.raises(RunError) as failed:
        watched(ctx, """tell('{"failed": "training diverged", "remedy": "lower it"}')""")
    assert (str(failed.value), failed.value.remedy) == ("training diverged\nlower it", "lower it")
    with pytest.raises(InputError) as refused:
        watched(ctx, """tell('{"input": ["too short", "too long"]}')""")
    assert refused.value.faults == ("too short", "too long")


def test_a_rank_that_ends_too_early_is_an_error_whichever_it_is(make_context: MakeContext) -> None:
    with pytest.raises(RunError, match="rank 0 of 2 died: exit status 0"):
        watched(make_context(), "pass", "import time; time.sleep(0.5)")
    with pytest.raises(RunError, match="rank 1 of 2 died: exit status 3"):
        watched(make_context(), "import time; time.sleep(2)", "sys.exit(3)")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ranks": 3}, r"numerics.ranks=3 must divide the 4 blocks of a step .* try ranks=2"),
        ({"ranks": 8}, "try ranks=4"),
        ({"ranks": 2, "device": "cuda:1"}, "'cuda:1' is one device, but numerics.ranks=2 need one each"),
    ],
)
def test_ranks_that_cannot_share_a_step_are_refused(
    make_context: MakeContext, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        read_settings(make_context(numerics=Numerics(**changes)))


def test_ranks_divide_the_blocks_and_the_threads(make_context: MakeContext) -> None:
    settings = read_settings(make_context(numerics=Numerics(ranks=2, threads=4, micro_batch=32)))
    assert (settings.blocks_per_rank, settings.micro_batch, settings.accumulation, settings.threads) == (2, 2, 1, 2)
