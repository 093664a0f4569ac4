"""Runs trainings in forked children and kills some of them with SIGKILL; a script that a test starts.

Reads a plan from the JSON file argv[1]: `{"inputs", "attempts": [{"params", "work", "out", "at_operation",
"at_time"}]}`.
An attempt is killed at a share (0 to 1) of the file operations or of the duration of the last attempt that was not
killed; null twice lets it finish. Prints every attempt's exit status, -9 for a killed one, as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ablab.spec.placement import Numerics
from ablab.store.context import StageContext, silent
from ablab.train.stage import train

EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.chmod"}


class Operations:
    """An audit hook that counts file operations below `folder` and dies without warning before number `limit`."""

    def __init__(self, folder: str, limit: int | None) -> None:
        self.count = 0
        self._folder, self._limit = folder, limit

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and str(arguments[0]).startswith(self._folder):
            self.count += 1
            if self.count == self._limit:
                os.kill(os.getpid(), signal.SIGKILL)


def child(plan: dict[str, Any], entry: dict[str, Any], limit: int | None) -> int:
    """One training in this process; returns the number of its file operations."""
    out, work = Path(entry["out"]), Path(entry["work"])
    operations = Operations(str(work.parent), limit)
    sys.addaudithook(operations)
    ctx = StageContext(
        key="0" * 64,
        params=entry["params"],
        inputs={name: Path(path) for name, path in plan["inputs"].items()},
        locations={},
        out=out,
        work=work,
        numerics=Numerics(threads=1),
        progress=silent,
        costs={},
    )
    result = train(ctx)
    (out / "result.json").write_text(json.dumps(result))
    (work / "resumed_from_step").write_text(str(int(ctx.costs["resumed_from_step"])))
    return operations.count


def attempt(plan: dict[str, Any], entry: dict[str, Any], limit: int | None, seconds: float | None) -> tuple[int, int]:
    """Exit status (-9 when killed) and file operations (0 when killed) of one forked attempt."""
    shutil.rmtree(entry["out"], ignore_errors=True)  # as the store does with what an attempt left unfinished
    Path(entry["out"]).mkdir(parents=True)
    Path(entry["work"]).mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.write(writer, str(child(plan, entry, limit)).encode())
        os._exit(0)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with os.fdopen(reader) as pipe:
        return status, int(pipe.read() or 0)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    # Import what trainings import once, for all children. The process group is each child's own: threads do not
    # survive a fork.
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed  # noqa: F401
    import functorch.compile  # type: ignore[import-untyped]  # noqa: F401

    statuses, operations, duration = [], 0, 0.0
    for entry in plan["attempts"]:
        limit = None if entry["at_operation"] is None else 1 + int(entry["at_operation"] * (operations - 1))
        seconds = None if entry["at_time"] is None else entry["at_time"] * duration
        began = time.monotonic()
        status, counted = attempt(plan, entry, limit, seconds)
        statuses.append(status)
        if status == 0:
            operations, duration = counted, time.monotonic() - began
    json.dump({"statuses": statuses, "operations": operations}, sys.stdout)


if __name__ == "__main__":
    main()
