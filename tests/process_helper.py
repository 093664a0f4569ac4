"""Other processes, seen from a test: which there are, whether they live, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.processes import family


def told_of(pid: int, what: str) -> str:
    """A file of a process under /proc; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """A process that only waits to be reaped is dead."""
    return told_of(pid, "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"], ["X"])


def below(pid: int, command: str = "") -> list[int]:
    """Living processes that a process started, and those that these did, with this in their command; oldest first."""
    return sorted(one for one in family(pid) if one != pid and alive(one) and command in told_of(one, "cmdline"))


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Returns when it holds; a test that waits longer has failed."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not so within {seconds:g} s"
        time.sleep(0.005)
