"""Workers live long, and however one dies the run hears of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from stages_helper import corpus_stage, suite_stage, tokenizer_stage

from ablab.errors import RunError
from ablab.runner.pool import Pool, WorkerProcess
from ablab.spec.placement import Numerics
from ablab.spec.stages import Stage
from ablab.store import Store
from ablab.store.children import describe_exit
from ablab.store.context import LOOKS

TESTS = str(Path(__file__).parents[1])


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(1, 1, tmp_path / "logs")
    yield made
    made.close()


def task(stage: Stage, root: Path, **changes: Any) -> dict[str, Any]:
    """What an executor sends."""
    store = Store(root)
    return {
        "key": stage.key,
        "identity": stage.identity,
        "uses": [[s.kind, s.key, []] for s in stage.inputs.values()],
        "steps": [],
        "inputs": {name: str(store.directory(s.kind, s.key)) for name, s in stage.inputs.items()},
        "locations": {},
        "store": str(root),
        "numerics": Numerics().model_dump(),
        "looks": [],
        "generation_workers": 1,
        "hostfile": None,
        **changes,
    }


def outcome(pool: Pool) -> dict[str, Any]:
    """The next event that is not progress."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = pool.next_event(0.5)
        if found is not None and "progress" not in found[1]:
            return found[1]
    pytest.fail("nothing was heard of the worker")


def test_one_process_computes_one_stage_after_another(pool: Pool, tmp_path: Path) -> None:
    pids = set()
    for stage in (corpus_stage(), tokenizer_stage(), suite_stage()):
        pool.workers[0].send(task(stage, tmp_path / "store"))
        event = outcome(pool)
        assert event["done"] == stage.key
        assert event["bytes"] > 0
        assert event["costs"]["seconds"] > 0
        pids.add(pool.workers[0].pid)
    assert len(pids) == 1
    store = Store(tmp_path / "store")
    assert all(store.faults(kind, key) == [] for kind, key in store.finished())
    assert len(list(store.finished())) == 3


def test_a_stage_that_raises_is_told_and_its_worker_goes_on(pool: Pool, tmp_path: Path) -> None:
    wrong = corpus_stage()
    pool.workers[0].send(task(wrong, tmp_path, identity=suite_stage().identity))
    assert "identity that is not its own" in outcome(pool)["message"]
    (tmp_path / "blocked").write_text("a file where a folder must be")
    pool.workers[0].send(task(suite_stage(), tmp_path / "blocked"))
    event = outcome(pool)
    assert event["failed"] == suite_stage().key
    assert "Not a directory" in event["message"]
    assert "Traceback" in pool.workers[0].log.read_text()
    pool.workers[0].send(task(suite_stage(), tmp_path / "store"))
    assert outcome(pool)["done"] == suite_stage().key


def test_a_stage_whose_looks_cannot_begin_is_told_and_given_free(pool: Pool, tmp_path: Path) -> None:
    stage, curve = suite_stage(), "c" * 64
    work = Store(tmp_path).work(curve)
    (work / LOOKS).mkdir(parents=True)
    (work / LOOKS / "step-00000001.look").touch()
    (work / "numerics.json").write_text("{")
    looks = [{"key": curve, "params": {}, "inputs": {}, "locations": {}}]
    pool.workers[0].send(task(stage, tmp_path, looks=looks))
    assert "began with cannot be read" in outcome(pool)["message"]
    assert not Store(tmp_path).is_locked(stage.key) and not any((tmp_path / ".attempts").iterdir())


def test_a_worker_that_dies_is_reported_with_its_signal_and_replaced(pool: Pool, tmp_path: Path) -> None:
    first = pool.workers[0]
    os.kill(first.pid, signal.SIGKILL)
    assert outcome(pool) == {"died": "signal SIGKILL (out of memory?)"}
    assert first.ended
    first.send({"a task": "for a dead worker is dropped, its death is told anyway"})
    second = pool.replace(first)
    assert pool.workers == [second]
    second.send(task(suite_stage(), tmp_path))
    assert outcome(pool)["done"] == suite_stage().key


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"exit": 3}, "exit status 3"),
        ({"signal": signal.SIGSEGV}, "signal SIGSEGV"),
        ({"signal": signal.SIGRTMIN + 1}, f"signal {signal.SIGRTMIN + 1}"),
        ({"half": "a" * 64}, "signal SIGKILL (out of memory?)"),
    ],
)
def test_every_way_to_die_is_told(
    order: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a signal without a name, and in the middle of an event."""
    monkeypatch.setenv("PYTHONPATH", TESTS)
    events: Queue[tuple[WorkerProcess, dict[str, Any]]] = Queue()
    worker = WorkerProcess(1, 1, tmp_path / "log", events, module="worker_helper")
    try:
        worker.send(order)
        assert events.get(timeout=60) == (worker, {"died": told})
    finally:
        worker.kill()


def test_exit_statuses_and_signals_are_told_in_words() -> None:
    assert [describe_exit(code) for code in (0, 1, -signal.SIGTERM)] == [
        "exit status 0",
        "exit status 1",
        "signal SIGTERM",
    ]


def test_a_pool_that_cannot_start_its_workers_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(RunError, match=r"could not be started.*no python"):
        Pool(2, 1, tmp_path / "logs")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_files_in_the_working_directory_do_not_pass_for_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the json that was meant')")
    monkeypatch.chdir(tmp_path)
    pool = Pool(1, 1, tmp_path / "logs")
    try:
        pool.workers[0].send(task(suite_stage(), tmp_path / "store"))
        assert outcome(pool)["done"] == suite_stage().key
    finally:
        pool.close()
