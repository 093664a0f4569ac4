"""`Study`: a question, and for every scale a design: a base recipe, a space over its paths, what is sought in it.

Pure, no I/O. What cannot be searched is said by `ablab.search.check`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ablab.errors import InputError, did_you_mean
from ablab.spec.ablation import Replicate
from ablab.spec.base import EXECUTION, INERT, Name, Positive, Spec
from ablab.spec.recipe import Recipe

BLOCK = 4  # rows of a task that are selection data, or final data, together (`ablab.search.halves`)


class Float(Spec):
    """Real numbers from `low` to `high`, both included."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    step: Annotated[float, Field(gt=0.0)] | None = Field(default=None, json_schema_extra=INERT)
    """Only low, low + step, low + 2 step, ...: such values can equal those of an arm."""
    log: bool = Field(default=False, json_schema_extra=INERT)
    """Drawn evenly in the logarithm."""


class Integer(Spec):
    """Whole numbers from `low` to `high`, both included."""

    kind: Literal["integer"] = "integer"
    low: int
    high: int
    step: Positive = Field(default=1, json_schema_extra=INERT)
    log: bool = Field(default=False, json_schema_extra=INERT)


class Categorical(Spec):
    """One of a few values: numbers, texts, null, or whole variants as JSON-like data."""

    kind: Literal["categorical"] = "categorical"
    choices: tuple[Any, ...] = Field(min_length=1)


Range = Annotated[Float | Integer | Categorical, Field(discriminator="kind")]


class Objective(Spec):
    """What is sought."""

    metric: str
    """A name of `ablab.spec.metrics`: a suite, a group, aggregate, or perplexity."""
    direction: Literal["minimize", "maximize"]


class TpeSampler(Spec):
    """Tree-structured Parzen estimator (Watanabe 2023 for Optuna's), all parameters together."""

    kind: Literal["tpe"] = "tpe"
    seed: Annotated[int, Field(ge=0)]
    startup_trials: Positive
    """Trials drawn at random before the estimator is used."""


class RandomSampler(Spec):
    """Independent draws."""

    kind: Literal["random"] = "random"
    seed: Annotated[int, Field(ge=0)]


Sampler = Annotated[TpeSampler | RandomSampler, Field(discriminator="kind")]


class NoPruning(Spec):
    """Every trial runs every replicate."""

    kind: Literal["none"] = "none"


class ClearlyWorse(Spec):
    """Stop a trial when it is worse than the best one by more than a margin, on the same replicates."""

    kind: Literal["clearly-worse"] = "clearly-worse"
    margin: Annotated[float, Field(ge=0.0)]
    """Mean difference that is too much: points; of perplexity in %."""
    after: Positive
    """Replicates that every trial runs."""


class Wilcoxon(Spec):
    """Stop a trial that Wilcoxon's signed-rank test finds worse than the best one, replicate by replicate.

    With n replicates p is never below 1 / 2^n: a threshold of 0.1 takes four of them.
    """

    kind: Literal["wilcoxon"] = "wilcoxon"
    p: Annotated[float, Field(gt=0.0, lt=1.0)]
    after: Positive
    """Replicates that every trial runs."""


Pruner = Annotated[NoPruning | ClearlyWorse | Wilcoxon, Field(discriminator="kind")]


VALIDATION_LOSS = "validation-loss"


class AtCheckpoints(Spec):
    """What rules at checkpoints have in common."""

    metric: str = Field(default=VALIDATION_LOSS, json_schema_extra=INERT)
    """What is looked at: `validation-loss`, of which less is better, or of the recipe's learning curve a suite, a group
    or `aggregate`, of which more is better, on selection data."""

    @property
    def is_loss(self) -> bool:
        return self.metric == VALIDATION_LOSS


class Behind(AtCheckpoints):
    """Stop a training that is worse than the best trial's by more than a margin: same replicate, same step."""

    kind: Literal["behind"] = "behind"
    margin: Annotated[float, Field(ge=0.0)]
    """Of the validation perplexity in %; of suites in points."""
    after: Positive
    """Steps that every training has."""


class Median(AtCheckpoints):
    """Optuna's `MedianPruner`: stop where the best value so far is worse than the median of complete trials there.

    It looks at the first replicate.
    """

    kind: Literal["median"] = "median"
    startup_trials: Positive
    """Complete trials before any is stopped."""
    after: Positive
    """Steps that every training has."""


class Hyperband(AtCheckpoints):
    """Optuna's `HyperbandPruner` (Li et al. 2018, asynchronous). It looks at the first replicate."""

    kind: Literal["hyperband"] = "hyperband"
    after: Positive
    """Steps that every training has: of the first rung."""
    reduction: Annotated[int, Field(ge=2)]
    """Of so many trials one goes on from a rung to the next, which has so many times its steps."""


CheckpointPruner = Annotated[NoPruning | Behind | Median | Hyperband, Field(discriminator="kind")]


class Budget(Spec):
    """When a search ends: by the first limit that is reached. A trial that has begun is finished."""

    trials: Positive
    """Different trials, over all commands and workers; those that failed count."""
    hours: Annotated[float, Field(gt=0.0)] | None
    """Hours of one command by the clock; None for no limit."""
    device_hours: Annotated[float, Field(gt=0.0)] | None
    """Computing time of all trials: seconds of the stages that were computed for them; None for no limit."""
    failures_in_a_row: Positive
    """Of one worker; then something is wrong with more than a trial."""


class StudyDesign(Spec):
    """One scale of a study."""

    recipe: Recipe
    """The base: trials are edits of it, and the first trial is the base itself where it lies in the space."""
    space: dict[str, Range] = Field(min_length=1)
    """By recipe path."""
    objectives: tuple[Objective, ...] = Field(min_length=1)
    """Judged on selection data alone (`ablab.search.halves`)."""
    sampler: Sampler
    pruner: Pruner
    """Between replicates, by the objective."""
    checkpoint_pruner: CheckpointPruner = Field(default=NoPruning(), json_schema_extra=INERT)
    """Inside the trainings of a trial, at their checkpoints."""
    budget: Budget = Field(json_schema_extra=EXECUTION)
    """May be raised later: more trials go on with the same search."""
    replicates: tuple[Replicate, ...] = Field(min_length=1)
    """A trial's value is the mean over all of them."""
    fresh: tuple[Replicate, ...] = Field(min_length=2)
    """Replicates with other seeds, on which the winner and the base are judged by final data."""

    @property
    def directions(self) -> tuple[str, ...]:
        return tuple(objective.direction for objective in self.objectives)

    @property
    def row_by_step(self) -> bool:
        """Optuna keeps one row of values per trial: of the first replicate by step, else of replicates by position."""
        by_step = not isinstance(self.checkpoint_pruner, NoPruning) and not isinstance(self.pruner, Wilcoxon)
        return len(self.objectives) == 1 and by_step

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(objective.metric for objective in self.objectives)


class Study(Spec):
    """A registered search. `version` is bumped by hand when `designs` change in meaning."""

    name: Name
    version: Positive
    question: str
    designs: dict[Name, StudyDesign] = Field(min_length=1)
    """By scale: smoke, small, paper, ..."""

    def design(self, scale: str) -> StudyDesign:
        if scale not in self.designs:
            raise InputError(f"{self.name} has no scale {scale!r}; {did_you_mean(scale, list(self.designs))}")
        return self.designs[scale]
