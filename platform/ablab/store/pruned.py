"""Checkpoints that were removed from a finished training: `pruned.json` beside its manifest.

The file is written before anything is removed, so what it names counts as absent whether or not its files are still
there. The manifest goes on listing them: what remains is verified by it as before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablab.store.files import read_json, write_json

PRUNED = "pruned.json"


def checkpoint_folder(step: int) -> str:
    """Where a training keeps the checkpoint of a step, below its directory."""
    return f"checkpoints/step-{step:08d}"


def read_pruned(directory: Path) -> frozenset[int]:
    """Steps whose checkpoints were removed. Raises `ValueError` for a file that is damaged."""
    path = directory / PRUNED
    if not path.exists():
        return frozenset()
    content = read_json(path)
    steps = content.get("steps") if isinstance(content, dict) else None
    if not isinstance(steps, dict) or not all(step.isdecimal() for step in steps):
        raise ValueError(f"{PRUNED} is not a list of removed checkpoints")
    return frozenset(int(step) for step in steps)


def pruned_steps(directory: Path) -> frozenset[int]:
    """As `read_pruned`; none where the file is damaged, which is found when the stage is verified."""
    try:
        return read_pruned(directory)
    except (OSError, ValueError):
        return frozenset()


def record_pruned(directory: Path, steps: Collection[int]) -> None:
    """Say, durably, that these checkpoints are removed."""
    path = directory / PRUNED
    known: dict[str, str] = dict(read_json(path)["steps"]) if read_pruned(directory) else {}
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"by": "ablab gc", "steps": {str(step): moment for step in sorted(steps)} | known})


def without_pruned(files: Mapping[str, Any], steps: Collection[int]) -> dict[str, Any]:
    """Of the files of a manifest those that do not belong to removed checkpoints."""
    gone = tuple(f"{checkpoint_folder(step)}/" for step in steps)
    return {name: entry for name, entry in files.items() if not name.startswith(gone)} if gone else dict(files)


def removed(steps: Collection[int]) -> str:
    """For people: 'its checkpoint 500 was removed by ablab gc'."""
    named = ", ".join(map(str, sorted(steps)))
    return f"its checkpoint{'s' * (len(steps) > 1)} {named} {'were' if len(steps) > 1 else 'was'} removed by ablab gc"
