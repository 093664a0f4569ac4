"""A long-lived worker process: computes stages one after another, so heavy imports are paid once.

Tasks come in and events go out as JSON lines (`pipes`); whatever libraries print goes to the worker's log.
"""

from __future__ import annotations

import errno
import functools
import importlib
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablab.errors import AblabError, RunError
from ablab.runner.pipes import Send, sender, tasks
from ablab.runner.provenance import provenance
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics
from ablab.spec.stages import KINDS
from ablab.store import Progress, StageContext, Store
from ablab.store.context import Measured, implementation, silent
from ablab.store.files import read_json
from ablab.store.pruned import pruned_steps, removed

PROGRESS_INTERVAL_S = 0.25


def main(task_pipe: int, event_pipe: int) -> None:
    """Read tasks from one file descriptor and write events to the other until the parent closes them."""
    send = sender(event_pipe)
    for task in tasks(task_pipe):
        if "warm" in task:
            for module in task["warm"]:
                importlib.import_module(module)
            continue
        send(_outcome(task, send))


def compute(task: dict[str, Any], send: Send) -> dict[str, Any]:
    """Compute one stage and commit it to the store. Returns the event that tells how it went: done, found, busy."""
    identity, key = task["identity"], task["key"]
    kind = identity["kind"]
    if digest(identity) != key:
        raise RunError(f"stage {kind} {key[:12]} was asked for with an identity that is not its own")
    store = _store(task["store"])
    if damaged := _damaged(store, task["uses"]):
        return {"found": key, "damaged": damaged}
    attempt = store.begin(kind, key, Numerics.model_validate(task["numerics"]), task["steps"])
    if attempt is None:
        return {"busy": key}
    costs: dict[str, float] = {}
    started = time.time()
    cpu = time.process_time()
    try:
        context = StageContext(
            key=key,
            params=identity["params"],
            inputs={name: Path(path) for name, path in task["inputs"].items()},
            locations={content: Path(path) for content, path in task["locations"].items()},
            out=attempt.out,
            work=attempt.work,
            numerics=attempt.numerics,
            progress=_progress(key, send),
            costs=costs,
            measured=_measured(key, send),
            hostfile=Path(task["hostfile"]) if task["hostfile"] else None,
            generation_workers=task["generation_workers"],
            looks=tuple(_look(one, store, attempt.numerics) for one in task["looks"]),
        )
        result = implementation(KINDS[kind].implementation)(context)
        costs |= {"seconds": time.time() - started, "cpu_seconds": time.process_time() - cpu}
        execution = {"costs": costs, "started": started, "resumed": attempt.resumed, **context.record, **provenance()}
        final = store.commit(attempt, identity, result, execution)
    finally:
        store.discard(attempt)
    size = sum(entry["bytes"] for entry in read_json(final / "manifest.json")["files"].values())
    return {"done": key, "costs": costs, "bytes": size}


def _damaged(store: Store, uses: list[tuple[str, str, list[int]]]) -> list[dict[str, Any]]:
    """The inputs that are not as they were recorded, each with where it was moved (None: not by this process)."""
    found = []
    for kind, key, steps in uses:
        if gone := pruned_steps(store.directory(kind, key)) & frozenset(steps):
            found.append({"key": key, "faults": [removed(gone)], "aside": None})
        elif faults := store.faults(kind, key):
            aside = store.set_aside(kind, key)
            found.append({"key": key, "faults": faults, "aside": str(aside) if aside else None})
    return found


@functools.cache
def _store(root: str) -> Store:
    """One store per process: it remembers what it has verified."""
    return Store(Path(root))


def _look(one: Mapping[str, Any], store: Store, numerics: Numerics) -> StageContext:
    """A curve that waits for the training which is computed now, and goes on from what the training finds for it."""
    work = store.begin_ahead(one["key"], numerics)
    return StageContext(
        key=one["key"],
        params=one["params"],
        inputs={name: Path(path) for name, path in one["inputs"].items()},
        locations={content: Path(path) for content, path in one["locations"].items()},
        out=work,
        work=work,
        numerics=numerics,
        progress=silent,
        costs={},
    )


def _outcome(task: dict[str, Any], send: Send) -> dict[str, Any]:
    key = task["key"]
    try:
        return compute(task, send)
    except AblabError as error:
        return {"failed": key, "message": str(error)}
    except OSError as error:
        traceback.print_exc()
        hint = "; free space, then run the same command" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return {"failed": key, "message": f"{error}{hint}"}
    except Exception as error:
        # The boundary of the process: whatever a stage raises is told to the parent, with the trace in the log.
        traceback.print_exc()
        return {"failed": key, "message": f"{type(error).__name__}: {error}"}


def _progress(key: str, send: Send) -> Progress:
    last = 0.0

    def report(done: int, total: int, unit: str, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL_S or done >= total:
            last = now
            send({"progress": key, "done": done, "total": total, "unit": unit, "note": note})

    return report


def _measured(key: str, send: Send) -> Measured:
    def report(step: int, values: Mapping[str, float]) -> None:
        send({"measured": key, "step": step, "values": dict(values)})

    return report
