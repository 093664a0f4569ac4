"""What a study has found so far: its trials as rows, and the best of them. Plain data; imports no optuna."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ablab.spec.metrics import PERPLEXITY

State = Literal["complete", "pruned", "failed", "running", "waiting"]


@dataclass(frozen=True)
class TrialRow:
    """One trial."""

    number: int
    state: State
    edits: Mapping[str, Any]
    values: tuple[float, ...] | None
    """Means over all replicates, one per objective; None unless it is complete."""
    replicates: tuple[tuple[float, ...], ...]
    """Selection values of the replicates that were run: [replicate][objective]."""
    identity: str
    """Equal for equal computations."""
    seconds: float
    """Computing time of the stages that were computed for it."""
    computed: int
    """Stages that were computed for it; the others were there."""
    duplicate_of: int | None = None
    retried_as: int | None = None
    cause: str = ""
    """Why it failed, or why it was stopped."""
    executions: tuple[str, ...] = ()
    checkpoints: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    """What the checkpoint pruner looks at: replicate -> step -> validation loss in nats, or score in %."""
    began_ms: int = 0
    ended_ms: int | None = None


@dataclass(frozen=True)
class Judged:
    """One objective of a winner or of the base, on fresh replicates."""

    metric: str
    searched: float | None
    """Mean over the searched replicates, on selection data: what made it the winner, and too good by that."""
    reselected: float
    """Mean over fresh replicates, still on selection data."""
    fresh: tuple[float, ...]
    """Final data, by fresh replicate."""
    low: float
    high: float
    """95 % interval of the mean for new replicates (t), of these items and this text."""
    change: float | None = None
    """Against the base on the same fresh replicates and final data: points; of perplexity in %."""
    change_low: float | None = None
    change_high: float | None = None

    @property
    def value(self) -> float:
        """Mean over fresh replicates on final data."""
        return statistics.fmean(self.fresh)

    @property
    def against_base(self) -> str:
        """'-1.2 % [-2, -0.4]', or that it is the base; empty of the base."""
        if self.change is None:
            return ""
        if self.is_base:
            return "the base itself"
        words = f"{self.change:+.3g}{' %' if self.metric == PERPLEXITY else ''}"
        known = self.change_low is not None and self.change_high is not None
        return f"{words} [{self.change_low:+.3g}, {self.change_high:+.3g}]" if known else words

    @property
    def is_base(self) -> bool:
        """A winner whose recipe is the base has its stages, so it differs in nothing."""
        return self.change == 0.0 and not self.change_low and not self.change_high


@dataclass(frozen=True)
class Winner:
    """A trial that was run again on fresh replicates."""

    number: int
    edits: Mapping[str, Any]
    judged: tuple[Judged, ...]
    dominated_by: tuple[int, ...] = ()
    """Other winners that on final data are better in one objective and no worse in any."""


@dataclass(frozen=True)
class Outcome:
    """Everything that a study says of itself."""

    label: str
    scale: str
    question: str
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    rows: tuple[TrialRow, ...]
    base: tuple[Judged, ...] = ()
    winners: tuple[Winner, ...] = ()
    notes: tuple[str, ...] = ()
    store_stages: Mapping[str, int] = field(default_factory=dict)

    def best(self) -> tuple[TrialRow, ...]:
        return best_of(self.rows, self.directions)

    def base_is_best(self) -> bool:
        """Whether fresh replicates judged no other winner than the base."""
        return bool(self.winners) and all(one.is_base for winner in self.winners for one in winner.judged)

    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON-like data, with the best trials and the means of fresh values."""
    found = json.loads(json.dumps(asdict(outcome)))
    for judged in [*found["base"], *(one for winner in found["winners"] for one in winner["judged"])]:
        judged["value"] = sum(judged["fresh"]) / len(judged["fresh"])
    return {**found, "best": [row.number for row in outcome.best()]}


def judged_json(outcome: Outcome) -> dict[str, Any]:
    """What fresh replicates have shown, as JSON-like data that is kept with the trials."""
    data = json.loads(json.dumps(asdict(outcome)))
    return {name: data[name] for name in ("base", "winners", "notes")}


def best_of(rows: Sequence[TrialRow], directions: Sequence[str]) -> tuple[TrialRow, ...]:
    """The best trial, or with several objectives those that no other one dominates; the earliest of equal ones."""
    judged: dict[str, TrialRow] = {}
    for row in sorted(rows, key=lambda row: row.number):
        if row.state == "complete" and row.values is not None:
            judged.setdefault(row.identity, row)
    complete = list(judged.values())
    if len(directions) == 1:
        return tuple(sorted(complete, key=lambda row: (losses(row.values, directions), row.number))[:1])
    return tuple(row for row in complete if not any(dominates(o.values, row.values, directions) for o in complete))


def dominates(one: Sequence[float] | None, other: Sequence[float] | None, directions: Sequence[str]) -> bool:
    """No worse in any objective and better in one."""
    better, worse = losses(one, directions), losses(other, directions)
    return all(a <= b for a, b in zip(better, worse, strict=True)) and better != worse


def losses(values: Sequence[float] | None, directions: Sequence[str]) -> tuple[float, ...]:
    """Values of which less is better."""
    signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
    return tuple(sign * value for sign, value in zip(signs, values or (), strict=True))


def copies_at_end(rows: Sequence[TrialRow]) -> int:
    """How many of the last trials that have ended were copies of earlier ones, without another one between them."""
    count = 0
    for row in sorted(rows, key=lambda row: -row.number):
        if row.state in ("running", "waiting"):
            continue
        if row.duplicate_of is None:
            break
        count += 1
    return count
