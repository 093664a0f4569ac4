"""Who is at a recorded execution: this machine knows its processes, of another one heartbeats tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ablab.registry.process import Process, this_process
from ablab.registry.records import Owner
from ablab.registry.registry import open_registry
from ablab.search.going_on import is_running
from ablab.store.executions import Execution, Status

KEY = "a" * 64
HERE = this_process()
ELSEWHERE = replace(HERE, machine="another")


def record(process: Process, status: Status = "running") -> Execution:
    return Execution(
        id="e",
        ablation="",
        label="",
        scale="",
        question="",
        design={},
        design_digest="",
        edits={},
        placement={},
        started_at="",
        code="",
        roles={"base": [{"train": ("train", KEY)}]},
        status=status,
        host=process.host,
        pid=process.pid,
        machine=process.machine,
        process_started=process.started,
    )


@pytest.mark.parametrize(
    ("process", "owner", "status", "running"),
    [
        (HERE, "", "running", True),
        (replace(HERE, started="0"), "e", "running", False),
        (ELSEWHERE, "e", "running", True),
        (ELSEWHERE, "another execution", "running", False),
        (ELSEWHERE, "", "running", False),
        (ELSEWHERE, "e", "finished", False),
    ],
)
def test_an_execution_runs_while_its_process_may_live(
    tmp_path: Path, process: Process, owner: str, status: str, running: bool
) -> None:
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        if owner:
            assert registry.try_acquire(KEY, Owner(owner, process))
        assert is_running(record(process, status), registry) is running
