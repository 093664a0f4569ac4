"""The child's side of the two pipes between a run and its processes: JSON lines, tasks in, events out.

When the parent is gone (its end of the pipe closes) the process ends at once, also in the middle of a task.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

Send = Callable[[dict[str, Any]], None]


def sender(event_pipe: int) -> Send:
    """A function that writes one event as a line."""
    pipe = os.fdopen(event_pipe, "w", encoding="utf-8")

    def send(event: dict[str, Any]) -> None:
        pipe.write(json.dumps(event) + "\n")
        pipe.flush()

    return send


def tasks(task_pipe: int) -> Iterator[dict[str, Any]]:
    """Tasks from the pipe."""
    queue = task_queue(task_pipe)
    while True:
        yield queue.get()


def task_queue(task_pipe: int) -> SimpleQueue[dict[str, Any]]:
    """Tasks as they come. A thread reads the pipe, so that the end of the parent ends a computation as well."""
    queue: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def read() -> None:
        with os.fdopen(task_pipe, encoding="utf-8") as pipe:
            for line in pipe:
                queue.put(json.loads(line))
        sys.stderr.flush()
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return queue
