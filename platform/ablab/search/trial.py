"""Designs of a study, run by the runner: recorded, computed replicate by replicate with one pool of workers, read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ablab.errors import RunError
from ablab.registry.registry import Registry
from ablab.runner.execute import Executor, Heard, unwatched
from ablab.runner.plan import Plan, PlannedStage, make_plan
from ablab.runner.pool import Pool
from ablab.runner.prepare import Prepared
from ablab.runner.progress import View
from ablab.runner.run import finish_execution, start_execution
from ablab.search.declared import ChosenStudy
from ablab.search.halves import Judgement
from ablab.settings import Settings
from ablab.spec.ablation import Ablation, Design
from ablab.spec.placement import Placement
from ablab.spec.recipe import Recipe
from ablab.store import Store
from ablab.store.executions import Execution, Status


class Stopped(Exception):
    """An evaluation is ended on purpose; its trainings go on from their last checkpoint another time."""


@dataclass
class Bench:
    """Where the trials of one command are run."""

    chosen: ChosenStudy
    scale: str
    settings: Settings
    store: Store
    registry: Registry
    placement: Placement
    view: View
    on_started: Callable[[PlannedStage], None]
    on_done: Callable[[PlannedStage], None]
    cut_off_s: float = 0.0
    """Computing time of the stages at which workers were stopped the last time."""
    _pool: Pool | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_pool()

    @contextmanager
    def recorded(self, title: str, design: Design, recipes: Mapping[str, Recipe]) -> Iterator[Evaluation]:
        """One recorded execution. recipes: resolved, by arm. How the block ends is how the execution ended."""
        plan = make_plan(design, recipes, self.store, self.placement.numerics, between_arms=False)
        study = self.chosen.study
        prepared = Prepared(
            ablation=Ablation(
                name=study.name, version=study.version, question=study.question, designs={self.scale: design}
            ),
            label=f"{self.chosen.label} {title}",
            scale=self.scale,
            edits={},
            design=design,
            plan=plan,
            placement=self.placement,
            store=self.store,
        )
        record = start_execution(self.registry, prepared, study=study.name)
        one = Evaluation(self, record, design, recipes, plan)
        try:
            yield one
        except BaseException as error:
            status: Status = "failed" if isinstance(error, Exception) else "interrupted"
            message = str(error) or type(error).__name__
            finish_execution(self.registry, self.store, record, status, message)
            raise
        finish_execution(self.registry, self.store, record, "finished", one.message)

    def execute(self, record: Execution, plan: Plan, on_measured: Heard) -> None:
        """Compute what is missing of a plan. Raises RunError when stages failed, and what `on_measured` raises."""
        self.cut_off_s = 0.0
        if self._pool is None and any(True for _ in plan.todo()):
            logs = self.settings.home / "logs" / record.id
            self._pool = Pool(self.placement.jobs, self.placement.numerics.threads, logs)
        began: dict[str, float] = {}

        def started(planned: PlannedStage) -> None:
            began[planned.key] = time.monotonic()
            self.on_started(planned)

        self.view.begin(plan)
        try:
            Executor(
                plan=plan,
                store=self.store,
                registry=self.registry,
                execution=record.id,
                placement=self.placement,
                view=self.view,
                logs=self.settings.home / "logs" / record.id,
                on_started=started,
                on_done=self.on_done,
                on_measured=on_measured,
                pool=self._pool,
            ).run()
        except BaseException:
            busy = [worker.task for worker in self._pool.workers if worker.task is not None] if self._pool else []
            if busy:
                self._close_pool()  # workers that are still at a stage must not stay at it
            now = time.monotonic()
            for key in busy:
                self.cut_off_s += now - began.get(key, now)
                self.view.stopped(plan.stages[key])
            raise
        finally:
            self.view.end()

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


@dataclass
class Evaluation:
    """A recorded design and its results so far."""

    bench: Bench
    record: Execution
    design: Design
    recipes: Mapping[str, Recipe]
    plan: Plan
    message: str = ""
    """What the record says of a finished one."""
    computed: list[str] = field(default_factory=list)
    """Keys of the stages that were computed for it."""
    seconds: float = 0.0
    """Computing time of these stages, and of those that were stopped."""

    def run(self, replicates: int | None = None, on_measured: Heard = unwatched) -> None:
        """Compute the first replicates of every arm (all of them by default). What `on_measured` raises ends it."""
        store, placement = self.bench.store, self.bench.placement
        plan = make_plan(self.design, self.recipes, store, placement.numerics, replicates, between_arms=False)
        missing = [planned.key for planned in plan.stages.values() if not planned.is_in(store)]
        try:
            self.bench.execute(self.record, plan, on_measured)
        finally:
            self._count(missing)
            self.seconds += self.bench.cut_off_s

    def curves(self, arm: str, position: int) -> Path:
        """The curves of the arm's training in one replicate."""
        training = self.plan.arms[arm][position].roles["train"]
        return self.bench.store.directory(training.kind, training.key) / "curves.jsonl"

    def result(self, arm: str, position: int) -> Judgement:
        """How one arm was judged in one replicate; the stages are verified."""
        roles = self.plan.arms[arm][position].roles
        found: dict[str, Path] = {}
        for role in ("evaluate", "select", "suite"):
            stage = roles[role]
            if faults := self.bench.store.faults(stage.kind, stage.key):
                aside = self.bench.store.set_aside(stage.kind, stage.key)
                raise RunError(
                    f"{stage.kind} {stage.key[:12]} is damaged ({'; '.join(faults)}); it was moved to {aside}",
                    "run the same command again: it is computed anew",
                )
            found[role] = self.bench.store.directory(stage.kind, stage.key)
        return Judgement(**found)

    def _count(self, keys: list[str]) -> None:
        """Of the stages that were missing, those that this evaluation computed, and their cost."""
        for record in self.bench.registry.stage_records(keys).values():
            if record.computed_by == self.record.id and record.state == "complete":
                self.computed.append(record.key)
                self.seconds += record.seconds
