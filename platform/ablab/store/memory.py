"""Memory of the machine."""

from __future__ import annotations

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def free_memory() -> int:
    """Bytes that nobody uses, with what caches would give back where the system says so."""
    for line in MEMINFO.read_text(encoding="utf-8").splitlines() if MEMINFO.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1_024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
