"""Processes that help with one stage: started by the process that computes it, and ended with it however it ends.

A helper is told its task as one JSON line on standard input, and lives as long as that pipe is open.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ablab.spec.placement import Numerics
from ablab.store.context import Measured, Progress, StageContext, silent, unheard


def start(
    running: ExitStack, call: str, task: dict[str, Any], threads: int, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """A process that runs `call` (module:function, arguments in Python), ended at the latest when `running` closes.

    What it prints goes to standard error.
    """
    module, _, function = call.partition(":")
    count = str(threads)
    process = subprocess.Popen(
        # -P: a file of the user's in the working directory must not pass for a library
        [sys.executable, "-P", "-c", f"from {module} import {function.partition('(')[0]}; {function}"],
        pass_fds=pass_fds,
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        env={**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "PYTHONPATH": import_path()},
    )
    running.callback(_end, process)
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once: its exit status tells how
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
    return process


def import_path() -> str:
    """The import path of this process: helpers run the same code."""
    return os.pathsep.join(path for path in sys.path if path)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.wait()


def describe_exit(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # real-time signals have numbers only
        name = str(-code)
    return f"signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def task_given() -> dict[str, Any]:
    """The helper's side: its task. From then on it ends at once when its parent is gone."""
    task: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    return task


def _die_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def context_as_task(ctx: StageContext) -> dict[str, Any]:
    """What of a context travels to helpers: nobody to report to."""
    return {
        "key": ctx.key,
        "params": dict(ctx.params),
        "inputs": {name: str(path) for name, path in ctx.inputs.items()},
        "locations": {content: str(path) for content, path in ctx.locations.items()},
        "out": str(ctx.out),
        "work": str(ctx.work),
        "numerics": ctx.numerics.model_dump(),
        "looks": [context_as_task(one) for one in ctx.looks],
    }


def context_of(
    task: dict[str, Any], costs: dict[str, float], progress: Progress = silent, measured: Measured = unheard
) -> StageContext:
    """The context of a helper, from its task."""
    return StageContext(
        key=task["key"],
        params=task["params"],
        inputs={name: Path(path) for name, path in task["inputs"].items()},
        locations={content: Path(path) for content, path in task["locations"].items()},
        out=Path(task["out"]),
        work=Path(task["work"]),
        numerics=Numerics.model_validate(task["numerics"]),
        progress=progress,
        costs=costs,
        measured=measured,
        looks=tuple(context_of(one, {}) for one in task["looks"]),
    )
