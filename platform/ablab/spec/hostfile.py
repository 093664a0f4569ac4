"""Hostfiles, as DeepSpeed's launcher reads them: a line `name slots=n` for every machine; `#` begins a comment."""

from __future__ import annotations

import re

from ablab.errors import InputError

LINE = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9._:-]*)\s+slots=(?P<slots>[1-9][0-9]{0,3})")
HERE = ("localhost", "127.0.0.1")


def parse_hostfile(text: str, name: str) -> dict[str, int]:
    """Processes by machine, in the order of the file. An `InputError` names every line that is wrong."""
    hosts: dict[str, int] = {}
    faults: list[str] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if found is None:
            faults.append(f"{name}, line {number}: {line!r} must be 'name slots=n', for example 'node1 slots=8'")
        elif found["host"] in hosts:
            faults.append(f"{name}, line {number}: {found['host']!r} is named twice; give it one line with all slots")
        else:
            hosts[found["host"]] = int(found["slots"])
    if not hosts and not faults:
        faults.append(f"{name} names no machine; add a line like 'node1 slots=8'")
    if faults:
        raise InputError(faults)
    return hosts


def is_here(hosts: dict[str, int]) -> bool:
    """This machine alone: no other is reached."""
    return len(hosts) == 1 and next(iter(hosts)) in HERE
