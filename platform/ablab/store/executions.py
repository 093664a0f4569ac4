"""Records of executions: which design was run, as which stages, and how it ended. One JSON file each, in the store.

The registry and MLflow are rebuilt from these files and from the stage directories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ablab.errors import InputError
from ablab.store.files import read_json, sync_directory, write_json

Status = Literal["running", "finished", "failed", "interrupted"]
Roles = Mapping[str, Sequence[Mapping[str, tuple[str, str]]]]
"""By arm, by position of the replicate, by role: (kind, key) of the stage."""

FOLDER = "executions"


@dataclass(frozen=True)
class Execution:
    """One run of one design. Times are UTC, ISO 8601."""

    id: str
    ablation: str
    label: str
    scale: str
    question: str
    design: Mapping[str, Any]
    design_digest: str
    edits: Mapping[str, Any]
    placement: Mapping[str, Any]
    roles: Roles
    status: Status
    started_at: str
    host: str
    pid: int
    code: str
    finished_at: str | None = None
    message: str = ""
    machine: str = ""
    """With `process_started` what tells a dead process from a later one with its pid (`ablab.registry.process`)."""
    process_started: str = ""
    study: str = ""
    """Of a trial: the study that it belongs to, which is published as a whole; empty for a run of an ablation."""

    def ended(self, status: Status, message: str) -> Execution:
        return replace(self, status=status, message=message, finished_at=now())


def now() -> str:
    """The present, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_execution(root: Path, record: Execution) -> None:
    """Write or replace the file of an execution."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{record.id}.json", asdict(record))


def read_execution(root: Path, execution: str) -> Execution:
    """One recorded execution by its whole id."""
    return _read(root / FOLDER / f"{execution}.json")


def forget_execution(root: Path, execution: str) -> None:
    """Remove the record of an execution: nothing is kept for it any more."""
    (root / FOLDER / f"{execution}.json").unlink(missing_ok=True)
    sync_directory(root / FOLDER)


def read_executions(root: Path) -> Iterator[Execution]:
    """Every recorded execution, oldest first."""
    records = [_read(path) for path in (root / FOLDER).glob("*.json")]
    yield from sorted(records, key=lambda record: (record.started_at, record.id))


def _read(path: Path) -> Execution:
    try:
        data = read_json(path)
        roles = {
            arm: [{role: (kind, key) for role, (kind, key) in one.items()} for one in replicates]
            for arm, replicates in data["roles"].items()
        }
        return Execution(**{**data, "roles": roles})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not the record of an execution ({error}); move it away") from error
