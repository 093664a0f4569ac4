"""Publishing beside the computation: a process of its own, so that a slow tracking server slows nothing.

What fails to be published is said at the end of the run; nothing is lost, `ablab publish` sends it later.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from queue import Empty, Queue, SimpleQueue
from types import TracebackType
from typing import Any

from ablab import tracking
from ablab.errors import AblabError, RunError
from ablab.runner.interrupted import end_runs
from ablab.runner.pipes import sender, task_queue
from ablab.runner.plan import PlannedStage
from ablab.runner.pool import WorkerProcess
from ablab.runner.prepare import open_store
from ablab.runner.projection import execution_view, stage_view
from ablab.settings import Settings, settings_of
from ablab.store import Store
from ablab.store.context import LIVE_FILE
from ablab.store.executions import Execution, read_execution

REMEDY = "results are safe in the store (`ablab compare` shows them); when MLflow works again, run: ablab publish"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that dies during a run is given up within a minute (MLflow's own: four); what the user has set stays."""
SILENT_S = 600.0  # a publisher that says nothing for so long is given up
TURN_S = 0.5  # between two looks at trainings that go on
LIVE_S = 5.0  # between two sendings of their curves
LEAVE_S = 10.0  # at most so long the end of a run waits until MLflow shows its trainings as ended
RETRY_S = 10.0  # until MLflow is tried again after it failed

PublishWhole = Callable[[tracking.Tracker, Store, Settings, dict[str, Any]], str]
EndAbandoned = Callable[[tracking.Tracker, Store, Settings], None]


class Publisher:
    """Sends finished stages while a run goes on, and the whole execution at its end."""

    def __init__(self, settings: Settings, log: Path, module: str = "ablab.runner.publisher") -> None:
        """module: whose `main` is the process."""
        self._settings, self._log, self._module = settings, log, module
        self._events: Queue[tuple[WorkerProcess, dict[str, Any]]] = Queue()
        self._process: WorkerProcess | None = None
        self._going_on: set[str] = set()
        """Keys of the trainings that are shown and have not finished."""
        self._whole_goes_on = False
        """A whole thing is shown that has not ended."""

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        try:
            if (self._going_on or self._whole_goes_on) and not self._process.ended:
                self._send({"leave": sorted(self._going_on)})
                with suppress(Empty):
                    self._events.get(timeout=LEAVE_S)
        finally:
            self._process.kill()

    def stage_done(self, planned: PlannedStage) -> None:
        """Publish one stage, some time soon. If that fails, `publish` sends it again with all others."""
        self._going_on.discard(planned.key)
        self._send({"stage": [planned.stage.kind, planned.key], "label": planned.title})

    def stage_started(self, planned: PlannedStage) -> None:
        """Show a training while it goes on."""
        if planned.stage.kind == "train":
            self._going_on.add(planned.key)
            self._send({"follow": planned.key, "identity": planned.stage.identity, "label": planned.title})

    def publish(self, execution: str) -> None:
        """Publish an execution and wait for it. Raises `RunError` with the remedy if that fails."""
        self.publish_whole({"execution": execution})

    def publish_soon(self, task: dict[str, Any]) -> None:
        """Have a whole thing shown as it is in a few seconds. Nobody waits for it, nor hears that it failed."""
        self._whole_goes_on = True
        self._send({"soon": True, **task})

    def publish_whole(self, task: dict[str, Any]) -> None:
        """Have a whole thing published, and wait for it. Raises `RunError` with the remedy if that fails."""
        if self._process is not None and self._process.ended:  # it died of something; that may have passed
            self._process.kill()
            self._process, self._events = None, Queue()
        self._send(task)
        self._whole_goes_on = False
        try:
            _, event = self._events.get(timeout=SILENT_S)
        except Empty:
            raise RunError(f"MLflow was silent for {SILENT_S:.0f} s; log: {self._log}", REMEDY) from None
        if "published" not in event:
            cause = event.get("failed") or f"its process died: {event['died']}"
            raise RunError(f"publishing to MLflow failed: {cause}; log: {self._log}", REMEDY)

    def _send(self, task: dict[str, Any]) -> None:
        if self._process is None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._process = WorkerProcess(0, 1, self._log, self._events, module=self._module)
            self._process.send({name: str(value) for name, value in asdict(self._settings).items()})
        self._process.send(task)


def main(task_pipe: int, event_pipe: int) -> None:
    """The process: publishes what it is told until its parent is gone."""
    serve_tasks(task_pipe, event_pipe, _publish, lambda tracker, store, _settings: end_runs(tracker, store))


def _publish(tracker: tracking.Tracker, store: Store, settings: Settings, task: dict[str, Any]) -> str:
    """The id of the execution that the task names."""
    record = read_execution(store.root, task["execution"])
    publish_execution(tracker, store, record, settings)
    return record.id


def serve_tasks(task_pipe: int, event_pipe: int, publish: PublishWhole, end_abandoned: EndAbandoned) -> None:
    """Publish stages, trainings while they go on, and what else a task names by `publish`.

    end_abandoned: shows as ended what goes on no more and is not this run's to publish.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    send = sender(event_pipe)
    received = task_queue(task_pipe)
    settings = settings_of(received.get())
    store, tracker = open_store(settings), tracking.Tracker.of(settings)
    with Desk(store, tracker, partial(end_abandoned, tracker, store, settings)) as desk:
        tasks: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threading.Thread(target=_listen, args=(received, desk, tasks), daemon=True).start()
        while True:
            try:
                task = tasks.get(timeout=TURN_S)
            except Empty:
                desk.work()
                continue
            if "stage" in task:
                desk.stages.append(task)
            elif "leave" in task:
                desk.leave(task["leave"])
                send({"left": task["leave"]})
            elif task.get("soon"):
                desk.soon = partial(publish, desk.tracker, desk.store, settings, task)
            else:
                send(_whole(desk, settings, task, publish))


def _listen(received: SimpleQueue[dict[str, Any]], desk: Desk, tasks: SimpleQueue[dict[str, Any]]) -> None:
    """Take in tasks and what trainings tell, also while MLflow is waited for: their files go when they are done."""
    try:
        while True:
            try:
                task = received.get(timeout=TURN_S)
            except Empty:
                desk.read()
                continue
            desk.read()
            if "follow" in task:
                desk.follow(task)
            else:
                tasks.put(task)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # nothing would be heard any more


def _whole(desk: Desk, settings: Settings, task: dict[str, Any], publish: PublishWhole) -> dict[str, str]:
    """The event that tells how publishing a whole thing went; what `soon` asked for is part of it."""
    desk.soon = None
    desk.work()
    try:
        desk.send_stages()
        published = publish(desk.tracker, desk.store, settings, task)
        desk.tidy()
        return {"published": published}
    except AblabError as error:
        return {"failed": str(error)}


class Desk:
    """What is to be published, kept until MLflow has it: a tracking server that is gone is tried again later."""

    def __init__(
        self, store: Store, tracker: tracking.Tracker, end_abandoned: Callable[[], None] = lambda: None
    ) -> None:
        self.store, self.tracker, self._end_abandoned = store, tracker, end_abandoned
        self.stages: deque[dict[str, Any]] = deque()
        """Tasks that name finished stages."""
        self.soon: Callable[[], str] | None = None
        """Publishes a whole thing that goes on, as it is then."""
        self._live: dict[str, tracking.LiveRun] = {}
        self._due = 0.0
        self._tidy = False

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._live.values():
            run.close()

    def follow(self, task: Mapping[str, Any]) -> None:
        """A training has begun; once more, where it failed before."""
        key, identity = task["follow"], task["identity"]
        if key not in self._live:
            file, now_ms = self.store.work(key) / LIVE_FILE, time.time_ns() // 1_000_000
            self._live[key] = tracking.LiveRun(key, identity["kind"], identity, task["label"], file, now_ms)

    def read(self) -> None:
        """Look at what trainings tell."""
        for run in list(self._live.values()):
            run.read()

    def work(self) -> None:
        """Look at what trainings tell; every few seconds send everything, later where MLflow fails."""
        self.read()
        if time.monotonic() < self._due:
            return
        try:
            for run in list(self._live.values()):
                self.tracker.publish_live(run)
            self.send_stages()
            if self.soon is not None:
                self.soon()
                self.soon = None
            self.tidy()
            self._due = time.monotonic() + LIVE_S
        except AblabError as error:
            print(f"{error}; trying again in {RETRY_S:.0f} s", file=sys.stderr, flush=True)
            self._due = time.monotonic() + RETRY_S

    def tidy(self) -> None:
        """Once, when MLflow is in use anyway: it takes a second or two to be imported, beside a first training."""
        if self.tracker.in_use and not self._tidy:
            self._tidy = True
            try:
                self._end_abandoned()
            except AblabError as error:  # of what is not this run's: `ablab publish` says the same
                print(error, file=sys.stderr, flush=True)

    def leave(self, keys: Iterable[str]) -> None:
        """The run ends early, and these trainings with it have no result: interrupted, failed or pruned."""
        try:
            for run in (self._live[key] for key in keys if key in self._live):
                run.read()
                self.tracker.leave_live(run)
            self._tidy = False
            self.tidy()
        except AblabError as error:
            print(error, file=sys.stderr, flush=True)

    def send_stages(self) -> None:
        """Send finished stages, each behind what it told before. Raises `RunError` when MLflow fails."""
        while self.stages:
            task = self.stages[0]
            kind, key = task["stage"]
            if key in self._live:
                self._live[key].read()
                self.tracker.publish_live(self._live[key])
            if self.store.has(kind, key):
                self.tracker.publish_stage(stage_view(self.store, kind, key, task["label"]))
            self.stages.popleft()
            if key in self._live:
                self._live.pop(key).close()


def publish_execution(
    tracker: tracking.Tracker, store: Store, record: Execution, settings: Settings
) -> tracking.Published:
    """Project one recorded execution and every stage of it that is in the store."""
    return tracker.publish_execution(execution_view(store, record, settings.home, settings.project))
