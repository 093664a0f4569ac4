"""Which process something belongs to, and whether it is certainly dead. Linux tells more than other systems."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process of one machine, told apart from a later one with the same pid."""

    host: str
    """Host name, for people."""
    machine: str
    """Boot id and pid namespace: two containers with one host name differ in it. The host name without /proc."""
    pid: int
    started: str
    """Start time in clock ticks since boot; empty where the system does not tell."""


def this_process() -> Process:
    """The process that calls; ask again after a fork."""
    pid = os.getpid()
    return Process(socket.gethostname(), _machine(), pid, _start_ticks(pid) or "")


def is_dead(process: Process) -> bool:
    """True only when it is certain: same machine, and the process is gone, a zombie, or its pid has a new owner."""
    if process.machine != _machine():
        return False
    if not _PROC.joinpath("self", "stat").exists():
        return not _pid_exists(process.pid)
    started = _start_ticks(process.pid)
    return started is None or started != process.started


def _machine() -> str:
    try:
        boot = _PROC.joinpath("sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{_PROC.joinpath('self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start_ticks(pid: int) -> str | None:
    """Field 22 of /proc/<pid>/stat (proc(5)); None without such a process, and for one that only waits to be reaped."""
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the command before it may hold spaces and brackets
    return None if state in {"Z", "X"} else fields[18]


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
