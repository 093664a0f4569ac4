"""The evaluator: lease, compute, record, until every needed stage is there. Nothing else decides what runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablab.errors import RunError
from ablab.registry.records import StageRecord, StageState
from ablab.registry.registry import Registry
from ablab.runner.leases import LeaseKeeper
from ablab.runner.plan import Plan, PlannedStage
from ablab.runner.pool import Pool, WorkerProcess
from ablab.runner.progress import View
from ablab.spec.placement import Placement
from ablab.store import Store

WAIT_S = 0.2
TORCH_KINDS = {"train": "ablab.train.stage", "generate": "ablab.generate.stage", "evaluate": "ablab.evaluate.stage"}


@dataclass
class Executor:
    """One evaluation of a plan. `on_done` hears of every stage that is complete, computed here or elsewhere."""

    plan: Plan
    store: Store
    registry: Registry
    execution: str
    placement: Placement
    view: View
    logs: Path
    on_done: Callable[[PlannedStage], None]
    _failed: dict[str, str] = field(default_factory=dict)
    _weights: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, float] = field(default_factory=dict)  # held by another process; when to look again

    def run(self) -> None:
        """Compute what is missing. Raises `RunError` after everything that could be computed has been."""
        if not any(True for _ in self.plan.todo()):
            return
        self._weights = chain_seconds(self.plan)
        with LeaseKeeper(self.registry, self.execution) as leases:
            pool = Pool(self._jobs(), self.placement.numerics.threads, self.logs)
            try:
                self._warm(pool)
                self._loop(pool, leases)
            finally:
                pool.close()
        if self._failed:
            raise RunError(self._summary(), "fix the cause and run the same command again: it resumes")

    def _jobs(self) -> int:
        return min(self.placement.jobs, sum(1 for _ in self.plan.todo()))

    def _loop(self, pool: Pool, leases: LeaseKeeper) -> None:
        while True:
            self._dispatch(pool, leases)
            busy = [worker for worker in pool.workers if worker.task is not None]
            if not busy and not self._waiting:
                if not self._ready(pool):
                    return
                continue  # another process's result has just made more ready
            event = pool.next_event(WAIT_S)
            if event is not None:
                self._handle(pool, leases, *event)
            for key in leases.lost():
                self._fence(pool, key)
            self.view.tick()

    def _dispatch(self, pool: Pool, leases: LeaseKeeper) -> None:
        ready = self._ready(pool)
        for worker in pool.idle():
            while ready:
                planned = ready.pop(0)
                if self._claim(planned, leases):
                    self._send(worker, planned)
                    break

    def _ready(self, pool: Pool) -> list[PlannedStage]:
        """Stages whose inputs are complete, those that most others wait for first."""
        running = {worker.task for worker in pool.workers}
        now = time.monotonic()
        ready = [
            planned
            for planned in self.plan.todo()
            if planned.key not in running
            and planned.key not in self._failed
            and self._waiting.get(planned.key, 0.0) <= now
            and all(self.plan.stages[s.key].state == "cached" for s in planned.stage.inputs.values())
        ]
        return sorted(ready, key=lambda planned: -self._weights[planned.key])

    def _claim(self, planned: PlannedStage, leases: LeaseKeeper) -> bool:
        """True when this process may compute the stage. Another's finished work is taken as it is."""
        if leases.acquire(planned.key):
            self._waiting.pop(planned.key, None)
            if self.store.has(planned.stage.kind, planned.key):  # finished elsewhere just before
                leases.release(planned.key)
                self._complete(planned)
                return False
            return True
        if planned.key not in self._waiting:
            self.view.note(f"{planned.title}: {leases.holder(planned.key)} computes it; waiting for the result")
        self._waiting[planned.key] = time.monotonic() + 1.0
        return False

    def _send(self, worker: WorkerProcess, planned: PlannedStage) -> None:
        stage = planned.stage
        worker.task = planned.key
        self.view.started(planned)
        worker.send(
            {
                "key": planned.key,
                "identity": stage.identity,
                "uses": [[s.kind, s.key] for s in stage.inputs.values()],
                "inputs": {name: str(self.store.directory(s.kind, s.key)) for name, s in stage.inputs.items()},
                "locations": dict(stage.locations),
                "store": str(self.store.root),
                "numerics": self.placement.numerics.model_dump(),
            }
        )

    def _handle(self, pool: Pool, leases: LeaseKeeper, worker: WorkerProcess, event: Mapping[str, Any]) -> None:
        if worker not in pool.workers:
            return  # the last words of a worker that was replaced
        if "progress" in event:
            self.view.progressed(self.plan.stages[event["progress"]], event)
            return
        key = worker.task
        worker.task = None
        if key is None:
            if "died" in event:
                self._replace(pool, worker, event["died"])
            return
        planned = self.plan.stages[key]
        if "done" in event:
            self._record(planned, "complete", event)
            self._complete(planned)
        elif "found" in event:
            self._recompute(event["damaged"])
        elif "failed" in event:
            self._fail(planned, f"{event['message']}\nlog: {worker.log}")
        else:
            self._fail(planned, f"its worker died: {event['died']}\nlog: {worker.log}")
            pool.replace(worker)
        leases.release(key)

    def _replace(self, pool: Pool, worker: WorkerProcess, how: str) -> None:
        """A worker that cannot even idle is replaced once per success; else the run would spin."""
        if not any(planned.state == "cached" for planned in self.plan.stages.values()):
            raise RunError(f"a worker process could not start: {how}; see {worker.log}")
        pool.replace(worker)

    def _record(self, planned: PlannedStage, state: StageState, event: Mapping[str, Any]) -> None:
        costs = event.get("costs", {})
        self.registry.record_stage(
            StageRecord(
                key=planned.key,
                kind=planned.stage.kind,
                state=state,
                seconds=float(costs.get("seconds", 0.0)),
                bytes=int(event.get("bytes", 0)),
                costs=costs,
                computed_by=self.execution,
                finished_at=datetime.now(UTC),
                message=event.get("message", ""),
            )
        )

    def _complete(self, planned: PlannedStage) -> None:
        planned.state, planned.why = "cached", "in the store"
        self._waiting.pop(planned.key, None)
        self.view.finished(planned)
        self.on_done(planned)

    def _recompute(self, damaged: list[list[str]]) -> None:
        for kind, key, *faults in damaged:
            aside = self.store.set_aside(kind, key)
            self.view.note(f"{kind} {key[:12]} is damaged ({'; '.join(faults)}); kept as {aside}; computing it again")
            self.plan.stages[key].state = "unneeded"
            self.plan.demand(key, self.store)

    def _fail(self, planned: PlannedStage, message: str) -> None:
        self._failed[planned.key] = message
        self.view.failed(planned, message)
        self._record(planned, "failed", {"message": message})

    def _fence(self, pool: Pool, key: str) -> None:
        """Another process took the lease over (this one was suspended, say): stop computing, then follow it."""
        for worker in pool.workers:
            if worker.task == key:
                pool.replace(worker)
                self._waiting[key] = time.monotonic() + 1.0
                self.view.note(f"{self.plan.stages[key].title}: the lease was lost; following its new holder")

    def _warm(self, pool: Pool) -> None:
        """Idle workers import what they will need while the first stages, which need none of it, run."""
        kinds = {planned.stage.kind for planned in self.plan.todo()}
        modules = [module for kind, module in TORCH_KINDS.items() if kind in kinds]
        for worker in pool.workers[1:]:
            worker.send({"warm": modules})

    def _summary(self) -> str:
        lines = [f"{len(self._failed)} of {len(self.plan.stages)} stages failed (process {os.getpid()}):"]
        for key, message in self._failed.items():
            lines.append(f"- {self.plan.stages[key].title} ({key[:12]}): {message}")
        return "\n".join(lines)


def chain_seconds(plan: Plan) -> dict[str, float]:
    """For every stage the seconds of the longest chain of work that waits for it, itself included."""
    longest: dict[str, float] = {}
    for key, planned in reversed(plan.stages.items()):  # inputs stand first, so children are known already
        longest[key] = planned.estimate.seconds + max((longest[c.key] for c in planned.children), default=0.0)
    return longest
