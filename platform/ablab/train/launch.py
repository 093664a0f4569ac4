"""Several processes train one model: started, watched and ended here, on one machine.

They meet at a file of their own in the stage's work directory, so there is no port that another run could have taken.
Each lives as long as the pipe that holds its task is open, so none outlives its parent. (DeepSpeed's launcher, which
`hosts` starts for several machines, needs a port and starts later.)
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ablab.errors import InputError, RunError
from ablab.store.children import context_as_task, describe_exit, start
from ablab.store.context import StageContext

MEETING = "meeting-"  # beginning of the name of the file that ranks meet at
RANK = "ablab.train.rank"  # module whose `main` is a rank


@dataclass
class Rank:
    """One process, and the pipe that it tells events through."""

    number: int
    process: subprocess.Popen[bytes]
    events: IO[bytes]
    half_line: bytes = b""


def train_together(ctx: StageContext, ranks: int) -> dict[str, Any]:
    """`train` in `ranks` processes; the result of rank 0, which writes all files and fills `ctx.costs`.

    Raises what a rank raised, or RunError naming a rank that died; all others are ended then.
    """
    for old in ctx.work.glob(f"{MEETING}*"):
        old.unlink()
    meeting = ctx.work / f"{MEETING}{os.getpid()}-{time.time_ns()}"
    with ExitStack() as running:
        started = [_start(running, number, _task(ctx, number, ranks, meeting), ctx, ranks) for number in range(ranks)]
        ended = watch(started, ctx)
        for rank in started:
            if rank.process.wait() != 0:
                raise _died(rank, ranks)
    meeting.unlink(missing_ok=True)
    return taken(ended, ctx)


def _task(ctx: StageContext, number: int, ranks: int, meeting: Path) -> dict[str, Any]:
    return context_as_task(ctx) | {"rank": number, "ranks": ranks, "meeting": str(meeting)}


def _start(running: ExitStack, number: int, task: dict[str, Any], ctx: StageContext, ranks: int) -> Rank:
    threads = max(1, ctx.numerics.threads // ranks)
    event_read, event_write = os.pipe()
    events = running.enter_context(os.fdopen(event_read, "rb"))
    try:
        process = start(running, f"{RANK}:main({event_write})", task, threads, (event_write,))
    finally:
        os.close(event_write)
    return Rank(number, process, events)


def watch(started: list[Rank], ctx: StageContext) -> dict[str, Any]:
    """Pass on progress until rank 0 says how it ended. Raises what a rank raised, or that one died before."""
    with selectors.DefaultSelector() as selector:
        for rank in started:
            selector.register(rank.events, selectors.EVENT_READ, rank)
        while True:
            ended = []
            for ready, _ in selector.select():
                one: Rank = ready.data
                read = os.read(one.events.fileno(), 65_536)  # a buffer would hide lines from the selector
                *lines, one.half_line = (one.half_line + read).split(b"\n")
                for event in map(json.loads, lines):
                    if heard(event, ctx):
                        return dict(event)
                if not read:  # its pipe is closed: it has ended
                    selector.unregister(one.events)
                    ended.append(one)
            for one in ended:  # behind what all have told: it may have ended because of another that failed
                if one.number == 0 or one.process.wait() != 0:
                    raise _died(one, len(started))


def heard(event: dict[str, Any], ctx: StageContext) -> bool:
    """Pass on an event of a rank; True for the last one of rank 0, the result. Raises what the rank raised."""
    if "progress" in event:
        ctx.progress(*event["progress"])
    elif "measured" in event:
        ctx.measured(*event["measured"])
    elif "input" in event:
        raise InputError(event["input"])
    elif "failed" in event:
        raise RunError(event["failed"], event["remedy"])
    return "result" in event


def taken(ended: dict[str, Any], ctx: StageContext) -> dict[str, Any]:
    """The result of rank 0, from its last event; what it recorded goes into the context."""
    ctx.costs.update(ended["costs"])
    ctx.record.update(ended["record"])
    result: dict[str, Any] = ended["result"]
    return result


def _died(rank: Rank, ranks: int) -> RunError:
    how = describe_exit(rank.process.wait())
    return RunError(f"rank {rank.number} of {ranks} died: {how}", "the log of the worker tells more")
