"""The evaluator: lease, compute, record, until every needed stage is there. Nothing else decides what runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Set
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
from ablab.spec.checkpoints import steps_needed
from ablab.spec.placement import Placement
from ablab.spec.stages import Stage
from ablab.store import Store
from ablab.store.removal import wait_for_gc

WAIT_S = 0.2
LOOK_AGAIN_S = 1.0  # at a stage that another process computes
TORCH_KINDS = {
    "train": "ablab.train.stage",
    "manipulation": "ablab.generate.manipulation",
    "generate": "ablab.generate.stage",
    "evaluate": "ablab.evaluate.stage",
    "curve": "ablab.evaluate.curve",
}
REFUSING = ("suite", "requests")

Heard = Callable[[PlannedStage, Mapping[str, Any]], None]


def unwatched(planned: PlannedStage, event: Mapping[str, Any]) -> None:
    """Checkpoints that nobody waits for."""


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
    on_started: Callable[[PlannedStage], None] = lambda _: None
    """Hears of every stage that a worker of this evaluation begins."""
    on_measured: Heard = unwatched
    """Hears of every checkpoint of a training that is computed here: step, values, seconds so far. What it raises ends
    the evaluation."""
    pool: Pool | None = None
    """Workers that outlive this evaluation, all of them idle; its own otherwise."""
    _failed: dict[str, str] = field(default_factory=dict)
    _weights: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, float] = field(default_factory=dict)  # another process is at it; when to look again
    _told: set[tuple[str, str]] = field(default_factory=set)
    _renewed: set[str] = field(default_factory=set)  # were found damaged in this run
    _idle_deaths: int = 0

    def run(self) -> None:
        """Compute what is missing. Raises `RunError` after everything that could be computed has been."""
        # The execution is recorded by now, so an `ablab gc` that begins later spares what it needs.
        wait_for_gc(self.store, self.view.note)
        self.plan.refresh(self.store)
        if not any(True for _ in self.plan.todo()):
            return
        self._weights = chain_seconds(self.plan)
        with LeaseKeeper(self.registry, self.execution) as leases:
            pool = self.pool or Pool(self._jobs(), self.placement.numerics.threads, self.logs)
            try:
                self._dispatch(pool, leases)
                self._warm(pool)
                self._loop(pool, leases)
            finally:
                if self.pool is None:
                    pool.close()
        if self._failed:
            raise RunError(self._summary(), "fix the cause and run the same command again: it resumes")

    def _jobs(self) -> int:
        return min(self.placement.jobs, sum(1 for _ in self.plan.todo()))

    def _loop(self, pool: Pool, leases: LeaseKeeper) -> None:
        while True:
            self._dispatch(pool, leases)
            if len(pool.idle()) == len(pool.workers) and not self._doable():
                return
            event = pool.next_event(WAIT_S)
            if event is not None:
                self._handle(pool, leases, *event)
            for key in leases.lost():
                self._fence(pool, key)
            self.view.tick()

    def _dispatch(self, pool: Pool, leases: LeaseKeeper) -> None:
        for worker in pool.idle():
            while ready := self._ready(pool):
                if self._claim(ready[0], leases):
                    self._send(worker, ready[0])
                    break

    def _doable(self) -> list[PlannedStage]:
        """Stages that are missing and have not failed, and for which everything that they wait for is complete."""
        return [
            planned
            for planned in self.plan.todo()
            if planned.key not in self._failed and all(one.state == "cached" for one in self.plan.awaited(planned))
        ]

    def _ready(self, pool: Pool) -> list[PlannedStage]:
        """Stages that may be asked for now, those that most others wait for first.

        Before all of them suites and requests, whose items may be refused, so that it is said at once.
        """
        running = {worker.task for worker in pool.workers}
        now = time.monotonic()
        ready = [
            planned
            for planned in self._doable()
            if planned.key not in running and self._waiting.get(planned.key, 0.0) <= now
        ]
        return sorted(ready, key=lambda planned: (planned.stage.kind not in REFUSING, -self._weights[planned.key]))

    def _claim(self, planned: PlannedStage, leases: LeaseKeeper) -> bool:
        """True when this process may compute the stage. Another's finished work is taken as it is."""
        if leases.acquire(planned.key):
            if planned.is_in(self.store):  # finished elsewhere just before
                leases.release(planned.key)
                self._complete(planned)
                return False
            return True
        self._follow(planned, f"{leases.holder(planned.key)} computes it; waiting for the result")
        return False

    def _follow(self, planned: PlannedStage, why: str) -> None:
        """Leave a stage to another process, and look for its result every now and then."""
        if (planned.key, why) not in self._told:
            self._told.add((planned.key, why))
            self.view.note(f"{planned.title}: {why}")
        self._waiting[planned.key] = time.monotonic() + LOOK_AGAIN_S

    def _send(self, worker: WorkerProcess, planned: PlannedStage) -> None:
        stage, needed = planned.stage, steps_needed(planned.stage)
        looks = [curve.stage for curve in planned.curves if self._can_look(curve)]
        beside = {s.key: s for curve in looks for s in curve.inputs.values() if s.key != planned.key}
        worker.task = planned.key
        self.view.started(planned)
        self.on_started(planned)
        worker.send(
            {
                "key": planned.key,
                "identity": stage.identity,
                "steps": sorted(planned.steps),
                "uses": [
                    *([s.kind, s.key, sorted(needed.get(name, ()))] for name, s in stage.inputs.items()),
                    *([s.kind, s.key, []] for s in beside.values()),
                ],
                "inputs": self._directories(stage),
                "looks": [
                    {"key": c.key, "params": c.params, "inputs": self._directories(c), "locations": dict(c.locations)}
                    for c in looks
                ],
                "locations": dict(stage.locations),
                "store": str(self.store.root),
                "numerics": self.placement.numerics.model_dump(),
                "hostfile": self.placement.hostfile,
                "generation_workers": self.placement.generation_workers,
            }
        )

    def _directories(self, stage: Stage) -> dict[str, str]:
        return {name: str(self.store.directory(s.kind, s.key)) for name, s in stage.inputs.items()}

    def _can_look(self, curve: PlannedStage) -> bool:
        """Its suites are wanted and prepared, so that they can be scored while its training goes on."""
        prepared = [one for one in self.plan.awaited(curve) if one.stage.kind != "train"]
        return curve.state in ("new", "resumable") and all(one.state == "cached" for one in prepared)

    def _handle(self, pool: Pool, leases: LeaseKeeper, worker: WorkerProcess, event: Mapping[str, Any]) -> None:
        if worker not in pool.workers:
            return  # the last words of a worker that was replaced
        if "progress" in event:
            self.view.progressed(self.plan.stages[event["progress"]], event)
            return
        if "measured" in event:
            self.on_measured(self.plan.stages[event["measured"]], event)
            return
        if "died" in event:
            self._replace(pool, worker, event["died"])
        key, worker.task = worker.task, None
        if key is not None:
            self._conclude(self.plan.stages[key], leases, worker, event)

    def _conclude(
        self, planned: PlannedStage, leases: LeaseKeeper, worker: WorkerProcess, event: Mapping[str, Any]
    ) -> None:
        """A worker is through with a stage, one way or another."""
        if "done" in event:
            self._idle_deaths = 0
            self._record(planned, "complete", event)
            self._complete(planned)
            leases.release(planned.key)
            return
        held = leases.release(planned.key)
        self.view.stopped(planned)
        if "found" in event:
            self._recompute(planned, event["damaged"])
        elif "busy" in event:
            self._follow(planned, "a process that lost its lease still works on it, or has just finished; waiting")
        elif not held:  # what it failed of is that another process took over
            self._follow(planned, "the lease was lost; following its new holder")
        elif "died" in event:
            self._fail(planned, f"its worker died: {event['died']}\nlog: {worker.log}")
        else:
            self._fail(planned, f"{event['message']}\nlog: {worker.log}")

    def _replace(self, pool: Pool, worker: WorkerProcess, how: str) -> None:
        """Start another worker in place of a dead one. Those that cannot even idle end the run; else it would spin."""
        if worker.task is None:
            self._idle_deaths += 1
            if self._idle_deaths > len(pool.workers):
                raise RunError(f"worker processes die while they have nothing to do: {how}; see {worker.log}")
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
        self.view.finished(planned)
        self.on_done(planned)

    def _recompute(self, finder: PlannedStage, damaged: list[dict[str, Any]]) -> None:
        """Inputs of a stage were found damaged: compute them again, then the stage."""
        for one in damaged:
            planned, faults = self.plan.stages[one["key"]], "; ".join(one["faults"])
            if one["aside"] is not None and planned.key in self._renewed:
                self._fail(finder, f"{planned.title} is damaged again ({faults}); is the disk sound?")
            if one["aside"] is not None:
                self._renewed.add(planned.key)
                self.view.note(f"{planned.title} is damaged ({faults}); kept as {one['aside']}; computing it again")
            # Without `aside` another process has moved it, has computed it again already, or is about to do either.
            if not planned.is_in(self.store):
                planned.state = "unneeded"
                self.plan.demand(planned.key, self.store)

    def _fail(self, planned: PlannedStage, message: str) -> None:
        self._failed[planned.key] = message
        self.view.failed(planned, message)
        self._record(planned, "failed", {"message": message})

    def _fence(self, pool: Pool, key: str) -> None:
        """Another process took the lease over (this one was suspended, say): stop computing, then follow it."""
        for worker in pool.workers:
            if worker.task == key:
                pool.replace(worker)
                self.view.stopped(self.plan.stages[key])
                self._follow(self.plan.stages[key], "the lease was lost; following its new holder")

    def _warm(self, pool: Pool) -> None:
        """After their first stage, which needs none of it, all but one worker import what they will need later."""
        kinds = {planned.stage.kind for planned in self.plan.todo()}
        modules = [module for kind, module in TORCH_KINDS.items() if kind in kinds]
        for worker in pool.workers[1:]:
            worker.send({"warm": modules})

    def _summary(self) -> str:
        todo = {planned.key for planned in self.plan.todo()}
        lines = [f"{len(self._failed)} of {len(self.plan.stages)} stages failed (process {os.getpid()}):"]
        for key, message in self._failed.items():
            planned = self.plan.stages[key]
            lines.append(f"- {planned.title} ({key[:12]}): {message}")
            first, *later = waiting_for(planned, todo)
            if first:
                behind = f", and {sum(map(len, later))} behind these" if any(later) else ""
                lines.append(f"  not begun without it: {', '.join(child.title for child in first)}{behind}")
        return "\n".join(lines)


def waiting_for(planned: PlannedStage, todo: Set[str]) -> list[list[PlannedStage]]:
    """What of the stages `todo` cannot be begun without one: first those that wait for it, then those that wait for
    these, and so on; each once. The last list is empty."""
    found: dict[str, PlannedStage] = {}
    levels, level = [], [planned]
    while level:
        children = {child.key: child for one in level for child in one.children if child.key in todo}
        level = [child for key, child in children.items() if key not in found]
        found |= {child.key: child for child in level}
        levels.append(level)
    return levels


def chain_seconds(plan: Plan) -> dict[str, float]:
    """For every stage the seconds of the longest chain of work that waits for it, itself included."""
    longest: dict[str, float] = {}

    def chain(planned: PlannedStage) -> float:
        if planned.key not in longest:
            longest[planned.key] = planned.estimate.seconds + max(map(chain, planned.children), default=0.0)
        return longest[planned.key]

    for planned in plan.stages.values():
        chain(planned)
    return longest
