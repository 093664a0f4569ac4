"""Checkpoints of a trial's trainings: each is kept with the trial, and after each the pruner is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from ablab.runner.plan import PlannedStage
from ablab.search.outcome import TrialRow
from ablab.search.pruning import behind
from ablab.search.rows import checkpoints_of
from ablab.search.spec import Behind, Hyperband, Median, NoPruning, StudyDesign
from ablab.search.storage import CHECKPOINTS, TrialStorage
from ablab.search.trial import Stopped

LOSS = "validation_loss_nats"


@dataclass
class Watch:
    """Hears the checkpoints of one trial. Replicates are never mixed: every value is compared with one of its own.

    Optuna's own row of intermediate values holds the first replicate.
    """

    storage: TrialStorage
    trial: Trial
    design: StudyDesign
    best: Callable[[], TrialRow | None]
    """The best trial so far."""
    scored: Callable[[str, int, int], float | None]
    """What suites (a metric) score in a replicate at a step, on selection data; None where nobody looked."""
    _values: dict[int, dict[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._values = checkpoints_of(self.trial)  # of an earlier worker of this trial

    def heard(self, planned: PlannedStage, event: Mapping[str, Any]) -> None:
        """A checkpoint of a stage that is computed now. Raises `Stopped` where the rest is not worth computing."""
        step, steps = event["step"], self.design.recipe.arm_schedule().steps
        for position in sorted({use.replicate for use in planned.uses if use.role == "train"}):
            why = self._keep(position, step, event["values"])
            if why and step < steps:
                raise Stopped(f"stopped at step {step} of {steps} of replicate {position + 1}: {why}")

    def read(self, curves: Path, position: int) -> None:
        """The checkpoints of a finished training: others are compared with them, also where nobody heard them."""
        for point in map(json.loads, curves.read_text(encoding="utf-8").splitlines()):
            if LOSS in point:
                self._keep(position, point["step"], point)

    def _keep(self, position: int, step: int, measured: Mapping[str, float]) -> str:
        """Why the pruner would stop now, in words; empty where it would not, or was asked before."""
        pruner, values = self.design.checkpoint_pruner, self._values.setdefault(position, {})
        if isinstance(pruner, NoPruning) or step in values:
            return ""
        value = measured[LOSS] if pruner.is_loss else self.scored(pruner.metric, position, step)
        if value is None:
            return ""
        if position == 0 and self.design.row_by_step:  # Optuna's pruners take the direction of the objective
            sign = 1.0 if (self.design.directions == ("minimize",)) == pruner.is_loss else -1.0
            self.storage.report(self.trial, step, sign * value)
        values[step] = value
        self.storage.note(self.trial, **{CHECKPOINTS: self._values})
        return self._why(pruner, position, step, value)

    def _why(self, pruner: Behind | Median | Hyperband, position: int, step: int, value: float) -> str:
        if isinstance(pruner, Behind):
            best = self.best() if step >= pruner.after else None
            return behind(position, step, value, best, pruner) if best is not None else ""
        if position != 0 or not self.storage.should_prune(self.trial):
            return ""
        name, bad = ("validation loss", "high") if pruner.is_loss else (pruner.metric, "low")
        return f"Optuna's {pruner.kind} pruner finds its {name} {value:.4g} too {bad}"
