"""Processes that stand in for workers which go wrong, started as `module=` of a `WorkerProcess`."""

from __future__ import annotations

import json
import os
import signal

from ablab.runner.pipes import tasks


def main(task_pipe: int, event_pipe: int) -> None:
    """Does what the first task says: exit with a status, die of a signal, or be killed while it writes an event."""
    task = next(tasks(task_pipe))
    if "exit" in task:
        os._exit(task["exit"])
    if "half" in task:
        os.write(event_pipe, json.dumps({"done": task["half"]}).encode()[:-3])
    os.kill(os.getpid(), task.get("signal", signal.SIGKILL))
