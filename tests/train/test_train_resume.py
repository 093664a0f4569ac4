"""Laws of resuming: a training killed at any moment and started again gives the bytes of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablab.spec.placement import Numerics
from ablab.store.context import StageContext
from ablab.train.stage import train

MakeContext = Callable[..., StageContext]
DigestFiles = Callable[[Path], dict[str, str]]
SCRIPT = Path(__file__).parent / "killed_training.py"


class Stopped(Exception):
    """What ends a training from outside, in place of a kill."""


def stop_at(ctx: StageContext, step: int) -> None:
    """Train until `step` is reported done, then stop without warning."""

    def stopping(*report: Any) -> None:
        if report[0] >= step:
            raise Stopped

    with pytest.raises(Stopped):
        train(with_progress(ctx, stopping))


def with_progress(ctx: StageContext, progress: Any) -> StageContext:
    return StageContext(**{**vars(ctx), "progress": progress, "out": fresh(ctx.out)})


def fresh(out: Path) -> Path:
    """An empty directory beside `out`, as the store gives to every attempt."""
    attempt = out.with_name(f"{out.name}-{len(list(out.parent.iterdir()))}")
    attempt.mkdir()
    return attempt


def resume(ctx: StageContext) -> tuple[StageContext, list[str]]:
    """Train again with the same work; the finished context and the notes that were shown."""
    notes: list[str] = []
    again = with_progress(ctx, lambda *report: notes.append(report[3]))
    train(again)
    return again, [note for note in notes if "resume" in note]


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablab.train.loop.REPORT_SECONDS", 0.0)


def run_attempts(tmp_path: Path, ctx: StageContext, attempts: list[dict[str, Any]]) -> list[int]:
    """Exit statuses of the attempts, run by the script beside this file."""
    plan = {"inputs": ctx.inputs, "attempts": attempts}
    (tmp_path / "plan.json").write_text(json.dumps(plan, default=str))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "plan.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    statuses: list[int] = json.loads(finished.stdout)["statuses"]
    return statuses


def test_killed_trainings_give_the_bytes_of_an_undisturbed_one(
    make_context: MakeContext, tmp_path: Path, digest_files: DigestFiles
) -> None:
    draw = random.Random(1)
    attempts: list[dict[str, Any]] = []
    contexts = {
        name: make_context(f"plan-{name}", **changes)
        for name, changes in (("mixed", {"share": 0.5}), ("half", {"precision": "bf16"}))
    }
    for name, ctx in contexts.items():
        kills = [(None, None), (draw.random(), None), (None, draw.random()), (draw.random(), None), (None, None)]
        for number, (at_operation, at_time) in enumerate(kills):
            folder = tmp_path / f"{name}-{'killed' if number else 'whole'}"
            place = {"at_operation": at_operation, "at_time": at_time}
            attempts.append({"params": ctx.params, "work": folder / "work", "out": folder / "out", **place})
    statuses = run_attempts(tmp_path, contexts["mixed"], attempts)
    assert statuses[0::5] + statuses[4::5] == [0, 0, 0, 0]
    assert statuses.count(-9) >= 2
    for name in contexts:
        whole = digest_files(tmp_path / f"{name}-whole/out")
        assert "curves.jsonl" in whole
        assert digest_files(tmp_path / f"{name}-killed/out") == whole
    resumed = [int((tmp_path / f"{name}-killed/work/resumed_from_step").read_text()) for name in contexts]
    assert max(resumed) > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_training_continues_from_its_last_checkpoint_bit_by_bit(
    precision: str, make_context: MakeContext, digest_files: DigestFiles
) -> None:
    whole, stopped = make_context("whole", precision=precision), make_context("stopped", precision=precision)
    train(whole)
    stop_at(stopped, 8)
    again, notes = resume(stopped)
    assert stopped.costs["resumed_from_step"] == 6
    assert notes == []
    assert digest_files(again.out) == digest_files(whole.out)


def test_a_training_killed_after_its_last_step_only_hands_over(
    trained: tuple[StageContext, Any], digest_files: DigestFiles
) -> None:
    ctx = StageContext(**{**vars(trained[0]), "costs": {}})
    again, _ = resume(ctx)
    assert ctx.costs["resumed_from_step"] == 12
    assert digest_files(again.out) == digest_files(ctx.out)


@pytest.mark.parametrize(
    "damaged",
    [
        "resume/step-00000006/state/mp_rank_00_model_states.pt",
        "resume/step-00000006/curves.jsonl",
        "resume/step-00000006/marker.json",
        "checkpoints/step-00000003/model.safetensors",
    ],
)
def test_a_damaged_resume_state_is_noted_and_not_loaded(
    damaged: str, make_context: MakeContext, trained: tuple[StageContext, Any], digest_files: DigestFiles
) -> None:
    ctx = make_context()
    stop_at(ctx, 8)
    content = bytearray((ctx.work / damaged).read_bytes())
    content[len(content) // 2] ^= 1
    (ctx.work / damaged).write_bytes(content)
    again, notes = resume(ctx)
    assert len(notes) == 1
    assert "resume state step-00000006 not used" in notes[0]
    assert "from step 0" in notes[0]
    assert ctx.costs["resumed_from_step"] == 0
    assert digest_files(again.out) == digest_files(trained[0].out)


def test_a_resume_state_of_other_numerics_is_not_continued(
    make_context: MakeContext, digest_files: DigestFiles
) -> None:
    numerics = Numerics(micro_batch=2)
    whole, ctx = make_context("whole", numerics=numerics), make_context("ctx")
    train(whole)
    stop_at(ctx, 8)
    again, notes = resume(StageContext(**{**vars(ctx), "numerics": numerics}))
    assert "micro_batch=4 (now 2)" in notes[0]
    assert digest_files(again.out) == digest_files(whole.out)


def test_only_the_newest_resume_state_is_kept(trained: tuple[StageContext, Any]) -> None:
    assert [path.name for path in (trained[0].work / "resume").iterdir()] == ["step-00000012"]
