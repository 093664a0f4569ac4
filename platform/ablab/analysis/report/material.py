"""`Material`: everything that a report shows, as plain frozen data. Nothing below here reads the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablab.analysis.apart import Apart
from ablab.analysis.comparison import Comparison, Effect
from ablab.analysis.corpora import CorpusRow
from ablab.spec.ablation import Design


@dataclass(frozen=True)
class Change:
    """One leaf in which an arm differs from the arm that it is told by; None is a leaf that is not there."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ArmText:
    """An arm and what exactly differs, in the normal form of the recipes (what cannot matter is left out)."""

    name: str
    like: str | None
    """The earlier arm that it is told by; None for the control."""
    changes: tuple[Change, ...]
    seed_offset: int
    finished: int
    """Replicates with a result."""


@dataclass(frozen=True)
class TaskEffect:
    """The paired difference of an arm from the control in one task of a suite."""

    suite: str
    group: str
    effect: Effect
    """Its metric is the task."""


@dataclass(frozen=True)
class Line:
    """A mean over replicates with the lowest and highest of them: x, mean, low, high have one length."""

    arm: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    replicates: int


@dataclass(frozen=True)
class ScoreCurves:
    """A metric in % over training steps, by arm in declared order."""

    metric: str
    kind: str
    """aggregate, group, suite or task."""
    suite: str
    """Of a task; else empty."""
    chance: float | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class LearningCurves:
    """Loss in nats per token over tokens seen, by arm in declared order; and scores where a recipe declares looks."""

    train: tuple[Line, ...]
    validation: tuple[Line, ...]
    scores: tuple[ScoreCurves, ...] = ()


@dataclass(frozen=True)
class FactorPoint:
    """One value of a numeric factor: the arm that has it, and its difference from the control."""

    value: float
    arm: str
    effects: Mapping[str, Effect | None]
    """By metric; None for the control itself, whose difference is 0."""


@dataclass(frozen=True)
class FactorCurve:
    """Arms that differ in one number alone, by its value ascending."""

    factor: str
    rest: str
    """What these arms have in common and others of the same factor have not; empty where there are no others."""
    points: tuple[FactorPoint, ...]


@dataclass(frozen=True)
class Samples:
    """A few texts as an arm was given them: generated text is hostile, and escaped wherever it is shown."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What stages took, as their manifests recorded it."""

    stages: int
    device_hours: float
    cpu_hours: float
    tokens: float
    flops: float


@dataclass(frozen=True)
class Costs:
    """Stages apart: every arm and replicate computes all of its own. Together: every different stage once."""

    arms: Mapping[str, Cost]
    """Of each arm, apart."""
    own: Mapping[str, Cost]
    """Of stages that no other arm needs."""
    kinds: Mapping[str, Cost]
    """Together, by kind of stage."""
    apart: Cost
    together: Cost
    unfinished: int
    """Different stages that the store does not hold; they cost nothing here."""


@dataclass(frozen=True)
class ClaimRecord:
    """Whether a claim was pinned before its results were there, and how that is known."""

    status: str
    why: str


@dataclass(frozen=True)
class Run:
    """A recorded execution."""

    id: str
    label: str
    status: str
    started_at: str
    finished_at: str | None
    code: str
    jobs: int


@dataclass(frozen=True)
class Environment:
    """What computed stages: versions, machine, numerics. `stages` were computed so."""

    stages: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class StageText:
    """A stage of the design: its first use, its key, and the digest of its result where it is finished."""

    kind: str
    role: str
    arms: str
    replicates: str
    key: str
    result: str | None


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from."""

    label: str
    scale: str
    design_digest: str
    edits: Mapping[str, str]
    runs: tuple[Run, ...]
    environments: tuple[Environment, ...]
    stages: tuple[StageText, ...]


@dataclass(frozen=True)
class Material:
    """One scale of an ablation, as far as it has results."""

    name: str
    question: str
    design: Design
    comparison: Comparison
    arms: tuple[ArmText, ...]
    claims: Mapping[str, ClaimRecord]
    """By id."""
    tasks: tuple[TaskEffect, ...]
    curves: LearningCurves
    factors: tuple[FactorCurve, ...]
    corpora: tuple[CorpusRow, ...]
    apart: tuple[Apart, ...]
    real: Mapping[str, Any]
    """Of the real corpus: words and documents by split, share of 13-grams that train holds."""
    samples: tuple[Samples, ...]
    costs: Costs
    provenance: Provenance

    @property
    def shown(self) -> Comparison:
        """The comparison without arms that have no result: they would be empty columns."""
        finished = {arm.name for arm in self.arms if arm.finished}
        arms = tuple(arm for arm in self.comparison.arms if arm in finished or arm == self.comparison.control)
        return replace(self.comparison, arms=arms)
