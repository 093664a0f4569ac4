"""Laws 2 and 3: whatever is killed and whenever, the same command ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from process_helper import told_of, wait_until
from tiny_helper import NAME, command, environment, plan_stages, run_tiny, stage_bytes

from ablab.spec import KINDS

# Roughly the order in which a run gets to them, so that a kill during one leaves the next still to be computed.
ORDER = (
    "suite",
    "corpus",
    "tokenizer",
    "tokens",
    "requests",
    "train",
    "select",
    "manipulation",
    "generate",
    "evaluate",
    "describe",
    "floor",
    "curve",
)
CURVE = ("--set", 'evaluation.curve={"every": 20}')  # one look, at the last step: every other stage stays what it is
SOON = ("requests", "manipulation", "describe", "floor", "curve")  # these may be there already: nothing waits long
LONG = {"corpus": 0.1, "train": 0.5, "generate": 0.2, "evaluate": 0.1}  # s, less than such a stage takes
MOMENTS = random.Random(20_251_122)


def _kill_during(kind: str, home: Path, keys: dict[str, str], *, worker: bool) -> bool:
    """Start the command, kill it (or the worker alone) while a stage of this kind is computed; False if too late."""
    process = subprocess.Popen(
        command("run-ablation", NAME, "--scale", "tiny", "--jobs", "2", *CURVE),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        attempts = home / "store" / ".attempts"
        while process.poll() is None:
            running = [path.name for path in attempts.glob("*") if keys[path.name.split("_")[0]] == kind]
            if running:
                time.sleep(MOMENTS.uniform(0.0, LONG.get(kind, 0.0)))
                victim = int(running[0].split("_")[1]) if worker else process.pid
                os.kill(victim, signal.SIGKILL)
                return True
            time.sleep(0.0005)
        assert process.returncode == 0, process.communicate()[1]
        return False
    finally:
        if worker:
            time.sleep(0.5)  # the run notices that its worker has died, then dies itself
        process.kill()
        process.communicate(timeout=300)


def test_killed_in_every_kind_of_stage_the_same_command_gives_the_same_bytes(
    finished_home: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    keys = {stage["key"]: stage["kind"] for stage in plan_stages(home, *CURVE)}
    assert set(ORDER) == set(KINDS)
    hit = []
    for number, kind in enumerate(ORDER):
        if kind in SOON:
            shutil.rmtree(home / "store" / kind, ignore_errors=True)
        hit += [kind] if _kill_during(kind, home, keys, worker=number % 2 == 1) else []
    assert set(hit) == set(KINDS), f"only {hit} were killed"
    done = run_tiny(home, *CURVE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: of for name, of in stage_bytes(home).items() if not name.startswith("curve/")} == stage_bytes(
        finished_home
    )
    assert not list((home / "store" / ".work").glob("*")), "work of finished stages is removed"
    assert not list((home / "store" / ".attempts").glob("*")), "half-written attempts are swept away"


def test_a_worker_that_dies_fails_its_stage_and_the_run_says_how_to_resume(finished_home: Path, tmp_path: Path) -> None:
    home = shutil.copytree(finished_home, tmp_path / "home", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    shutil.rmtree(home / "store" / "describe")
    shutil.rmtree(home / "store" / "floor")
    process = subprocess.Popen(
        command("run-ablation", NAME, "--scale", "tiny", "--jobs", "1"),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    attempts = home / "store" / ".attempts"
    while not list(attempts.glob("*")):
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(int(next(attempts.glob("*")).name.split("_")[1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "1 of 52 stages failed" in errors
    assert "signal SIGKILL" in errors
    assert "the same command" in errors
    assert run_tiny(home).returncode == 0
    assert stage_bytes(home) == stage_bytes(finished_home)


def test_workers_end_when_the_run_that_started_them_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    keys = {stage["key"]: stage["kind"] for stage in plan_stages(home)}
    assert _kill_during("train", home, keys, worker=False)
    wait_until(lambda: not _runners_of(home), 20.0)


def _runners_of(home: Path) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if str(home) in told_of(pid, "environ") and "ablab.runner" in told_of(pid, "cmdline")]
