"""Publishing beside the computation: a process of its own, so that a slow tracking server slows nothing.

What fails to be published is said at the end of the run; nothing is lost, `ablab publish` sends it later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any

from ablab import tracking
from ablab.errors import AblabError, RunError
from ablab.runner.pipes import sender, tasks
from ablab.runner.plan import PlannedStage
from ablab.runner.pool import WorkerProcess
from ablab.runner.prepare import open_store
from ablab.runner.projection import execution_view, stage_view
from ablab.settings import Settings, settings_of
from ablab.store import Store
from ablab.store.executions import Execution, read_execution

REMEDY = "results are safe in the store (`ablab compare` shows them); when MLflow works again, run: ablab publish"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that dies during a run is given up within a minute (MLflow's own: four); what the user has set stays."""
SILENT_S = 600.0  # a publisher that says nothing for so long is given up


class Publisher:
    """Sends finished stages while a run goes on, and the whole execution at its end."""

    def __init__(self, settings: Settings, log: Path, module: str = "ablab.runner.publisher") -> None:
        """module: whose `main` is the process."""
        self._settings, self._log, self._module = settings, log, module
        self._events: Queue[tuple[WorkerProcess, dict[str, Any]]] = Queue()
        self._process: WorkerProcess | None = None
        self._due, self._broken = 0, False  # whole things under way; MLflow has failed

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()

    def stage_done(self, planned: PlannedStage) -> None:
        """Publish one stage, some time soon. If that fails, `publish` sends it again with all others."""
        self._send({"stage": [planned.stage.kind, planned.key], "label": planned.title})

    def publish(self, execution: str) -> None:
        """Publish an execution and wait for it. Raises `RunError` with the remedy if that fails."""
        self.publish_whole({"execution": execution})

    def publish_soon(self, task: dict[str, Any]) -> None:
        """Have a whole thing published, some time. Left out while another is under way, or when MLflow has failed."""
        self._look()
        if not (self._due or self._broken):
            self._send(task)
            self._due += 1

    def publish_whole(self, task: dict[str, Any]) -> None:
        """Have a whole thing published, and wait for it. Raises `RunError` with the remedy if that fails."""
        self._look()
        if self._broken and self._process is not None:  # it may work again by now
            self._process.kill()
            self._process, self._events, self._due, self._broken = None, Queue(), 0, False
        self._send(task)
        self._due += 1
        while True:
            try:
                _, event = self._events.get(timeout=SILENT_S)
            except Empty:
                raise RunError(f"MLflow was silent for {SILENT_S:.0f} s; log: {self._log}", REMEDY) from None
            if "published" in event:
                self._due -= 1
                if self._due == 0:
                    return
            elif "stage" not in event:
                cause = event.get("failed") or f"its process died: {event['died']}"
                raise RunError(f"publishing to MLflow failed: {cause}; log: {self._log}", REMEDY)

    def _look(self) -> None:
        """Hear what has happened so far."""
        while not self._events.empty():
            _, event = self._events.get()
            self._due -= "published" in event
            self._broken |= "failed" in event or "died" in event

    def _send(self, task: dict[str, Any]) -> None:
        if self._process is None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._process = WorkerProcess(0, 1, self._log, self._events, module=self._module)
            self._process.send({name: str(value) for name, value in asdict(self._settings).items()})
        self._process.send(task)


def main(task_pipe: int, event_pipe: int) -> None:
    """The process: publishes what it is told. The first failure is reported and ends it."""
    serve_tasks(task_pipe, event_pipe, _publish)


def _publish(tracker: tracking.Tracker, store: Store, settings: Settings, task: dict[str, Any]) -> str:
    """The id of the execution that the task names."""
    record = read_execution(store.root, task["execution"])
    publish_execution(tracker, store, record, settings)
    return record.id


def serve_tasks(
    task_pipe: int, event_pipe: int, publish: Callable[[tracking.Tracker, Store, Settings, dict[str, Any]], str]
) -> None:
    """Publish stages, and what else a task names by `publish`, until the parent closes its pipe."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    send = sender(event_pipe)
    received = tasks(task_pipe)
    settings = settings_of(next(received))
    store, tracker = open_store(settings), tracking.Tracker.of(settings)
    try:
        for task in received:
            if "stage" in task:
                kind, key = task["stage"]
                tracker.publish_stage(stage_view(store, kind, key, task["label"]))
                send({"stage": key})
            else:
                send({"published": publish(tracker, store, settings, task)})
    except AblabError as error:
        send({"failed": str(error)})
        raise


def publish_execution(
    tracker: tracking.Tracker, store: Store, record: Execution, settings: Settings
) -> tracking.Published:
    """Project one recorded execution and every stage of it that is in the store."""
    return tracker.publish_execution(execution_view(store, record, settings.home, settings.project))
