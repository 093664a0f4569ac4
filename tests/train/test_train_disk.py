"""A full disk fails the training and leaves the last checkpoint as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablab.store.context import StageContext
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
DigestFiles = Callable[[Path], dict[str, str]]
SCRIPT = Path(__file__).parent / "several_ranks.py"

FULL = """
import runpy, resource, signal, sys
from ablab.train.checkpoint import Checkpoints
from ablab.train.resume import ResumeStates
save = WRITER.METHOD
def full_at_the_second(self, step, *rest):
    if step == 6:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit is an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    save(self, step, *rest)
WRITER.METHOD = full_at_the_second
sys.argv = [SCRIPT, PLAN]
runpy.run_path(SCRIPT, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("writer", "told"),
    [
        ("ResumeStates.save", "a state could not be written whole: full disk?"),
        ("Checkpoints.write", "a checkpoint could not be written: "),
    ],
)
def test_a_full_disk_fails_the_training_and_the_last_checkpoint_is_gone_on_from(
    make_context: MakeContext,
    tmp_path: Path,
    digest_files: DigestFiles,
    trained: tuple[StageContext, dict[str, Any]],
    writer: str,
    told: str,
) -> None:
    ctx = make_context("full")
    entry = {"params": ctx.params, "numerics": ctx.numerics.model_dump(), "work": str(ctx.work), "out": str(ctx.out)}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"inputs": ctx.inputs, "trainings": [entry]}, default=str))
    code = f"SCRIPT, PLAN = {str(SCRIPT)!r}, {str(plan)!r}\n{FULL.replace('WRITER.METHOD', writer)}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"OSError: [Errno 28] {told}" in done.stderr
    assert not (ctx.out / "curves.jsonl").exists()
    states = sorted(path.name for path in (ctx.work / "resume").glob("step-*"))
    assert states == ["step-00000003"]
    again = StageContext(**{**vars(ctx), "out": tmp_path / "again", "costs": {}})
    again.out.mkdir()
    train(again)
    assert again.costs["resumed_from_step"] == 3
    assert digest_files(again.out) == digest_files(trained[0].out)
