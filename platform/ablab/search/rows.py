"""Optuna's trials as plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from optuna.trial import FrozenTrial, Trial, TrialState

from ablab.search.outcome import State, TrialRow
from ablab.search.points import Space, edits_of
from ablab.search.storage import (
    CAUSE,
    CHECKPOINTS,
    COMPUTED,
    DUPLICATE,
    EXECUTIONS,
    IDENTITY,
    REPLICATES,
    SECONDS,
    retries,
)

STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def rows_of(trials: Sequence[FrozenTrial], space: Space) -> tuple[TrialRow, ...]:
    """By number."""
    retried = retries(trials)
    return tuple(_row(trial, space, retried) for trial in sorted(trials, key=lambda trial: trial.number))


def _row(trial: FrozenTrial, space: Space, retried: Mapping[int, int]) -> TrialRow:
    about, state = trial.user_attrs, STATES[trial.state]
    return TrialRow(
        number=trial.number,
        state=state,
        edits=edits_of(trial.params, space),
        values=tuple(trial.values) if state == "complete" else None,
        replicates=tuple(tuple(values) for values in about.get(REPLICATES, ())),
        identity=about.get(IDENTITY, ""),
        seconds=float(about.get(SECONDS, 0.0)),
        computed=int(about.get(COMPUTED, 0)),
        duplicate_of=about.get(DUPLICATE),
        retried_as=retried.get(trial.number),
        cause=about.get(CAUSE, ""),
        checkpoints=checkpoints_of(trial),
        executions=tuple(about.get(EXECUTIONS, ())),
        began_ms=_ms(trial.datetime_start) or 0,
        ended_ms=_ms(trial.datetime_complete),
    )


def checkpoints_of(trial: FrozenTrial | Trial) -> dict[int, dict[int, float]]:
    """What was measured at checkpoints: replicate -> step -> value. JSON knows no numbers as names."""
    stored = trial.user_attrs.get(CHECKPOINTS, {})
    return {int(r): {int(step): float(value) for step, value in values.items()} for r, values in stored.items()}


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
