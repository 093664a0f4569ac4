"""The search: claim a trial, run it replicate by replicate, tell; then judge the best on fresh replicates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from optuna.trial import Trial, TrialState

from ablab.errors import AblabError, InputError, RunError
from ablab.runner.execute import unwatched
from ablab.runner.progress import View
from ablab.search.checkpoints import Watch
from ablab.search.fresh import judge_fresh
from ablab.search.halves import load_half, value
from ablab.search.looks import score_at
from ablab.search.outcome import Outcome, TrialRow, best_of, copies_at_end
from ablab.search.points import drawn
from ablab.search.prepare import PreparedStudy, design_of
from ablab.search.pruning import clearly_worse
from ablab.search.rows import rows_of
from ablab.search.spec import ClearlyWorse, NoPruning, Wilcoxon
from ablab.search.storage import (
    CAUSE,
    COMPUTED,
    DUPLICATE,
    EXECUTIONS,
    IDENTITY,
    REPLICATES,
    SECONDS,
    TakenOver,
    TrialStorage,
)
from ablab.search.trial import Bench, Evaluation, Stopped
from ablab.spec.canonical import digest
from ablab.spec.check import recipe_faults
from ablab.spec.edit import edit
from ablab.spec.lower import lower
from ablab.spec.recipe import Recipe

LOOK_AGAIN_S = 1.0
EXHAUSTED = 10  # copies of earlier trials in a row, whoever drew them: the space holds hardly any other points

Told = Callable[[], None]


@dataclass
class Search:
    """One command's part of a study."""

    prepared: PreparedStudy
    storage: TrialStorage
    bench: Bench
    view: View
    on_change: Told = lambda: None
    """Called when a trial has begun or ended."""
    notes: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _failures: int = 0

    def run(self) -> Outcome:
        """Search until the budget is used, then judge the winners. Raises RunError after too many failures in a row."""
        self.storage.retry_failed()
        told: list[int] = []
        while not (over := self._time_is_used()):
            full = self._is_searched() or self._computing_is_used()
            trial = self.storage.claim(0 if full else self.prepared.trials)
            if trial is not None:
                self._run(trial)
                self._end_after_failures()
                continue
            others = self.storage.running_elsewhere()
            if not others:
                over = full
                break
            if others != told:
                told = others
                self.view.note(f"other workers are at trial {', '.join(map(str, others))}; waiting for them")
            time.sleep(LOOK_AGAIN_S)
        self.notes += [over] if over else []
        return self._judged()

    def rows(self) -> tuple[TrialRow, ...]:
        return rows_of(self.storage.trials(), self.prepared.design.space)

    def outcome(self) -> Outcome:
        """What is known now, without judging anything."""
        prepared = self.prepared
        return Outcome(
            label=prepared.chosen.label,
            scale=prepared.scale,
            question=prepared.chosen.study.question,
            metrics=prepared.design.metrics,
            directions=prepared.design.directions,
            rows=self.rows(),
            notes=tuple(self.notes),
        )

    def _judged(self) -> Outcome:
        found = self.outcome()
        best = found.best()
        if not best:
            raise RunError("no trial has a value, so there is no winner", "raise the budget with --trials")
        return judge_fresh(self.prepared, self.bench, found, best)

    def _end_after_failures(self) -> None:
        if self._failures >= self.prepared.design.budget.failures_in_a_row:
            last = max((row for row in self.rows() if row.state == "failed"), key=lambda row: row.number)
            raise RunError(
                f"{self._failures} trials in a row failed, the last, trial {last.number}, of: {last.cause}",
                "fix the cause and run the same command again: it tries them once more and goes on",
            )

    def _time_is_used(self) -> str:
        """Why this command begins nothing any more, in words; empty while it does."""
        hours = self.prepared.design.budget.hours
        if hours is None or time.monotonic() - self._began < 3600 * hours:
            return ""
        return f"the time of this command is used: budget.hours={hours:g}"

    def _is_searched(self) -> str:
        """Why no new point is drawn, in words; empty while one is. Trials that were begun are still ended."""
        if copies_at_end(self.rows()) < EXHAUSTED:
            return ""
        return f"the last {EXHAUSTED} proposals were copies of earlier trials: the space is searched"

    def _computing_is_used(self) -> str:
        """The same of the study's computing time."""
        hours, used = self.prepared.design.budget.device_hours, sum(row.seconds for row in self.rows()) / 3600
        if hours is None or used < hours:
            return ""
        return f"the computing time of the study is used: {used:.2f} of {hours:g} hours"

    def _run(self, trial: Trial) -> None:
        """One trial, from its point to its value; what it fails of is its cause, and the search goes on."""
        with self.storage.heartbeat(trial):
            edits = drawn(trial, self.prepared.design.space)
            words = ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in edits.items())
            self.view.note(f"trial {trial.number}: {words}")
            self.on_change()
            try:
                self._judged_or_failed(trial, edits)
            except TakenOver as error:
                self.view.note(str(error))
            except (KeyboardInterrupt, SystemExit):
                with suppress(RunError):  # its silence says the same, later
                    self.storage.give_back(trial)
                raise
        self.on_change()

    def _judged_or_failed(self, trial: Trial, edits: dict[str, Any]) -> None:
        try:
            self._judge(trial, edits)
            self._failures = 0
        except TakenOver:
            raise
        except AblabError as error:
            self._failures += 1
            self.view.note(f"trial {trial.number} FAILED: {error}")
            self.storage.note(trial, **{CAUSE: str(error)})
            self._tell(trial, TrialState.FAIL)

    def _judge(self, trial: Trial, edits: dict[str, Any]) -> None:
        prepared, design = self.prepared, self.prepared.design
        recipe = edit(design.recipe, edits, f"trial {trial.number}")
        if faults := recipe_faults(recipe):
            raise InputError([f"trial {trial.number}: {fault}" for fault in faults])
        resolved = edit(prepared.base, edits)
        identity = self._identity(resolved)
        twin = next((row for row in self.rows() if _is_twin(row, identity, trial.number)), None)
        self.storage.note(trial, **{IDENTITY: identity})
        if twin is not None:
            self._copy(trial, twin)
            return
        arm, title = f"trial-{trial.number}", f"trial {trial.number}"
        with self.bench.recorded(title, design_of(arm, recipe, design.replicates), {arm: resolved}) as one:
            before = self._spent(trial)
            self.storage.note(trial, **{EXECUTIONS: [*trial.user_attrs.get(EXECUTIONS, ()), one.record.id]})
            watch = Watch(self.storage, trial, design, self._best, partial(score_at, one, arm))
            values: list[list[float]] = []
            try:
                values = self._replicates(trial, arm, one, watch)
            except Stopped as stopped:
                one.message = str(stopped)
            finally:  # whatever becomes of it: what it cost
                spent = {SECONDS: before[0] + one.seconds, COMPUTED: before[1] + len(one.computed)}
                self.storage.note(trial, **spent)
        if one.message:
            self.storage.note(trial, **{CAUSE: one.message})
            self._tell(trial, TrialState.PRUNED)
        else:
            means = [statistics.fmean(column) for column in zip(*values, strict=True)]
            self._tell(trial, TrialState.COMPLETE, means)

    def _replicates(self, trial: Trial, arm: str, one: Evaluation, watch: Watch) -> list[list[float]]:
        """Selection values, replicate by replicate; all are computed at once where nothing may stop it between them.

        A trial that is stopped between them has fewer, and a message that says why. Raises Stopped where it is stopped
        at a checkpoint.
        """
        design = self.prepared.design
        count, steadily = len(design.replicates), isinstance(design.pruner, NoPruning)
        watched = not isinstance(design.checkpoint_pruner, NoPruning)
        count_as_row = len(design.objectives) == 1 and not design.row_by_step
        values: list[list[float]] = []
        for position in range(count):
            if not steadily or position == 0:
                one.run(None if steadily else position + 1, watch.heard if watched else unwatched)
            if watched:
                watch.read(one.curves(arm, position), position)
            half = load_half(one.result(arm, position), "selection")
            values.append([value(half, metric) for metric in design.metrics])
            self.storage.note(trial, **{REPLICATES: values})
            if count_as_row:
                self.storage.report(trial, position, values[-1][0])
            why = self._why_stop(trial, values) if position + 1 < count else ""
            if why:
                one.message = f"stopped after {position + 1} of {count} replicates: {why}"
                break
        return values

    def _spent(self, trial: Trial) -> tuple[float, int]:
        """What an earlier worker of this trial has spent on it."""
        return float(trial.user_attrs.get(SECONDS, 0.0)), int(trial.user_attrs.get(COMPUTED, 0))

    def _why_stop(self, trial: Trial, values: Sequence[Sequence[float]]) -> str:
        """Why a trial is not worth its other replicates; empty where it is, or where there is nothing to compare."""
        design, pruner = self.prepared.design, self.prepared.design.pruner
        if isinstance(pruner, NoPruning) or len(values) < pruner.after:
            return ""
        if isinstance(pruner, Wilcoxon):
            worse = self.storage.should_prune(trial)
            return f"Wilcoxon's test finds it worse than the best (p < {pruner.p:g})" if worse else ""
        best = self._best()
        assert isinstance(pruner, ClearlyWorse)
        return clearly_worse(design.objectives[0], [v[0] for v in values], best, pruner.margin) if best else ""

    def _best(self) -> TrialRow | None:
        return next(iter(best_of(self.rows(), self.prepared.design.directions)), None)

    def _copy(self, trial: Trial, twin: TrialRow) -> None:
        """A point that is the same computation as an earlier one has its value, and costs and counts nothing."""
        self.view.note(f"trial {trial.number} is the same computation as trial {twin.number}")
        self.storage.note(trial, **{DUPLICATE: twin.number, REPLICATES: [list(one) for one in twin.replicates]})
        if twin.values is not None:
            self._tell(trial, TrialState.COMPLETE, twin.values)
        else:
            self.storage.note(trial, **{CAUSE: twin.cause})
            self._tell(trial, TrialState.PRUNED)

    def _tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        self.storage.tell(trial, state, values)
        row = next(row for row in self.rows() if row.number == trial.number)
        told = (
            ""
            if row.values is None
            else "  ".join(
                f"{metric} {value:.4g}" for metric, value in zip(self.prepared.design.metrics, row.values, strict=True)
            )
        )
        self.view.note(f"trial {trial.number} {row.state}  {told or row.cause}  ({row.seconds:.0f} s computed)")

    def _identity(self, resolved: Recipe) -> str:
        return digest([lower(resolved, one).roles["evaluate"].key for one in self.prepared.design.replicates])


def _is_twin(row: TrialRow, identity: str, number: int) -> bool:
    ended = row.state in ("complete", "pruned")
    return ended and row.identity == identity and row.number != number and row.duplicate_of is None
