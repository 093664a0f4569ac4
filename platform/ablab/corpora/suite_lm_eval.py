"""Snapshots of lm-eval's tasks: one zip for each, with its configuration, its code and its documents.

`task.json` says what is in it, `config/` holds the task file with what it includes and the Python beside them,
`documents/<split>.parquet` the rows. `ablab.evaluate.snapshot` makes and runs them; here they are only looked at.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from ablab.corpora.filecheck import FactCache
from ablab.corpora.paths import absolute, changed
from ablab.errors import RunError, did_you_mean
from ablab.spec.suites import LmEvalTasks

ABOUT = "task.json"
FIELDS = ("task", "file", "version", "lm_eval", "documents", "chance", "metrics", "filters")


def snapshot_file(suite: LmEvalTasks, task: str, data: Path) -> Path:
    """Where the snapshot of a task lies."""
    return absolute(suite.path, data) / f"{task}.zip"


def read_about(data: bytes) -> dict[str, Any]:
    """What a snapshot says of itself. Raises ValueError for what is none."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            about: dict[str, Any] = json.loads(archive.read(ABOUT))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"is no snapshot of a task ({error})") from error
    if not isinstance(about, dict) or any(field not in about for field in FIELDS):
        raise ValueError(f"is no snapshot of a task ({ABOUT} lacks a field)")
    return about


def resolve_tasks(suite: LmEvalTasks, data: Path, facts: FactCache) -> tuple[LmEvalTasks, list[str]]:
    """The suite with an absolute path and the digest of every snapshot, and its faults."""
    digests: dict[str, str] = {}
    faults: list[str] = []
    for task in suite.tasks:
        path = snapshot_file(suite, task, data)
        if not path.is_file():
            faults.append(
                f"the snapshot of lm-eval's task {task!r} is not there (looked for {path}); `ablab data fetch`, with "
                "the name and scale of this run, makes it where lm-eval can reach the documents"
            )
            continue
        found = facts.of_files("lm-eval", [path], lambda path=path: _facts(path))  # type: ignore[misc]
        digests[path.name] = found["sha256"]
        faults += [f"{path} {fault}; remove it and fetch it again" for fault in found["faults"]]
        if not found["faults"]:
            faults += _measure_faults(suite, path, found)
        if path.name in suite.digests and suite.digests[path.name] != found["sha256"]:
            faults.append(changed(path, suite.digests[path.name], found["sha256"]))
    where = f"suite {suite.name!r}: "
    known = {"path": str(absolute(suite.path, data)), "digests": digests or dict(suite.digests)}
    return suite.model_copy(update=known), [where + fault for fault in faults]


def _facts(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        about, faults = read_about(data), []
    except ValueError as error:
        about, faults = {}, [str(error)]
    return {"sha256": hashlib.sha256(data).hexdigest(), "faults": faults, "about": about}


def _measure_faults(suite: LmEvalTasks, path: Path, found: Mapping[str, Any]) -> list[str]:
    about, faults = found["about"], []
    for field, value in (("metric", suite.metric), ("filter", suite.filter)):
        if value not in about[f"{field}s"]:
            faults.append(f"{about['task']} has no {field} {value!r}; {did_you_mean(value, about[f'{field}s'])}")
    if about["lm_eval"] != (installed := version("lm_eval")):
        faults.append(
            f"{path} was made with lm-eval {about['lm_eval']}, but {installed} is installed; install that version, or "
            "remove the file and fetch it again"
        )
    return faults


def copy_snapshots(suite: LmEvalTasks, locations: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write `<task>.zip` for every task; returns what the suite stage's result says of the suite.

    Raises `RunError` for a file that is not the one that the recipe was resolved with.
    """
    folder = out / suite.name
    folder.mkdir()
    tasks: dict[str, int] = {}
    versions: dict[str, Any] = {}
    chances: list[float | None] = []
    for name, digest in sorted(suite.digests.items()):
        data = locations[digest].read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise RunError(
                f"{locations[digest]} changed since the run began (its SHA-256 is no longer {digest[:12]}...)",
                "put the file back as it was, or start the run again to use it as it is",
            )
        about = read_about(data)
        (folder / name).write_bytes(data)
        tasks[about["task"]] = min(about["documents"], suite.limit or about["documents"])
        versions[about["task"]] = about["version"]
        chances.append(about["chance"])
    known = [chance for chance in chances if chance is not None]
    return {
        "group": suite.group,
        "chance": sum(known) / len(known) if len(known) == len(chances) and suite.metric == "acc" else None,
        "tasks": tasks,
        "lm_eval": {"metric": suite.metric, "filter": suite.filter, "limit": suite.limit, "versions": versions},
    }
