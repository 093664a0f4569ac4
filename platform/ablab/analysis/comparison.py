"""`Comparison`: everything that an ablation's stored results say, as plain frozen data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["suite", "group", "aggregate", "perplexity"]
Verdict = Literal["supported", "contradicted", "inconclusive", "not judged", "not run"]
"""'not judged': the arms were trained on the same words, so whatever differs says nothing about the claim."""
Inference = Literal["new items and replicates", "new replicates and some items", "new replicates", "new items"]
"""What an interval speaks about. 'new replicates': these items; 'new items': this one replicate.

'new replicates and some items': a mean that also holds suites whose items have no values, so that they are these.
"""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval: estimate +- t(df) x se. Unit of its effect."""

    low: float
    high: float
    se: float
    df: float
    """Whose t has the interval's bound at 95 %."""
    inference: Inference
    share: float = 1.0
    """Of the variance that rests on replicates; between 0 and 1 the bound is a mean of two t quantiles."""
    replicate_df: float | None = None
    item_df: float | None = None
    """Of these two; None where `df` is all."""


@dataclass(frozen=True)
class Effect:
    """The paired difference `arm` - `against` in one metric."""

    arm: str
    against: str
    metric: str
    unit: str
    """'points' (of percent), or '%' for perplexity: relative to `against`."""
    estimate: float
    interval: Interval | None
    """The one that verdicts use: for new items and replicates where there are at least two replicates.

    None where no spread can be estimated (one replicate of perplexity, or of a metric that holds suites without right
    answers; nothing varies but the estimate is not 0).
    """
    these_items: Interval | None
    """Beside it: for these very items and new replicates. None with one replicate, and where `interval` is that."""
    p: float | None
    """Two-sided, of no difference."""
    test: str | None
    """'t'; with one replicate 'exact McNemar', 't over items' where items weigh differently, or 't over clusters' where
    rows share a story."""
    detectable: float | None
    """Smallest true difference that a run like this finds (two-sided 5 %) with 80 % power."""
    items: int | None
    replicates: int
    relative: float | None = None
    """Mean relative change in % of `against`, as the study counts; None where that scores 0."""
    cohens_h: float | None = None
    """Of mean accuracies: 2 asin sqrt(p_arm) - 2 asin sqrt(p_against). None where answers are not right or wrong."""
    hedges_g: float | None = None
    """Estimate in standard deviations of one replicate's difference, corrected for few replicates (Hedges 1981)."""
    replicate_sd: float | None = None
    """Standard deviation of one replicate's difference, answers' noise included. None with one replicate."""
    item_sd: float | None = None
    """Standard deviation of the difference by the choice of items, which no replicate makes smaller."""
    item_df: float | None = None
    study_low: float | None = None
    study_high: float | None = None
    """The study's procedure (`bootstrap`), which speaks of neither new seeds nor their spread."""


@dataclass(frozen=True)
class RelativeTerm:
    """One suite's part of a mean relative change."""

    metric: str
    baseline: float
    change: float
    """Points."""
    relative: float | None
    """%; None where the baseline is 0."""
    baseline_se: float | None
    """Over replicates; over items with one replicate; None where neither is known."""
    unstable: bool
    """|baseline| < 2 SE: its relative change says nothing."""


@dataclass(frozen=True)
class RelativeChange:
    """Mean relative change of an arm against the control: the study's aggregate, where nothing is missing."""

    arm: str
    against: str
    name: str
    """'μΔREL' where all of the study's suites are there, else 'mean relative change'."""
    mean: float | None
    """% of the baseline, unweighted mean over the terms; None where a term has none."""
    points: float
    """Mean change of the same terms in points."""
    terms: tuple[RelativeTerm, ...]
    missing: tuple[str, ...]
    """Suites of the study that were not measured."""
    replicates: int


@dataclass(frozen=True)
class OracleEffect:
    """A difference in points by the study's own procedure, and the same with the checkpoint selected beforehand."""

    arm: str
    against: str
    metric: str
    """A suite, or 'aggregate': the mean over the suites of the curves."""
    estimate: float
    low: float | None
    """The study's bootstrap; None where answers are not right or wrong."""
    high: float | None
    held_out: float
    """With held-out selection, of the same suites, items and replicates (all items where none is right or wrong)."""


@dataclass(frozen=True)
class Oracle:
    """The study's checkpoint rule: of every suite and replicate the best step on that suite itself.

    Of these numbers nothing is compared with held-out selection, and no verdict rests on them.
    """

    steps: tuple[int, ...]
    """That were looked at."""
    scores: tuple[Score, ...]
    """Best of the steps, by arm and suite."""
    effects: tuple[OracleEffect, ...]
    relative: tuple[RelativeChange, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know of these curves."""


@dataclass(frozen=True)
class Components:
    """Standard deviations of one replicate's difference by source, in the effect's unit, from a crossed block."""

    arm: str
    against: str
    metric: str
    unit: str
    train_seed: float
    generation_seed: float
    rest: float
    """What neither seed explains: their interaction, and the noise of answers."""
    items: float | None
    """Of the mean difference, by the choice of items; None where these have no values."""
    train_seeds: int
    generation_seeds: int


@dataclass(frozen=True)
class Metric:
    """A suite, a group of suites, the aggregate of all, or perplexity."""

    name: str
    kind: Kind
    """Bits per byte are perplexity in another unit."""
    unit: str
    """Of scores: '%', or '' for perplexity."""
    chance: float | None
    items: int | None
    """That have values of their own; None where there are none."""
    decimals: int = 1
    """Of its differences in tables, and of its scores (perplexity: two)."""


@dataclass(frozen=True)
class Score:
    """An arm's scores in one metric, by replicate position; None where there is no result."""

    arm: str
    metric: str
    values: tuple[float | None, ...]
    mean: float | None
    spread: float | None
    """Standard deviation over replicates; None below two."""


@dataclass(frozen=True)
class Reference:
    """Scores of a model that is no arm: the 5-gram floor, GOOD, BAD. Means where several have one name."""

    name: str
    step: int | None
    """None for the floor, and where the models of this name were taken at different steps."""
    scores: dict[str, float]
    models: int = 1
    """How many: a GOOD of its own for every replicate makes as many."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim and what the results say about it."""

    id: str
    statement: str
    metric: str
    arm: str
    against: str
    direction: str
    margin: float
    verdict: Verdict
    p: float | None
    """Two-sided, against the margin."""
    p_holm: float | None
    """Adjusted over all claims of the ablation."""
    effect: Effect | None
    words: str
    """One sentence for a reader."""


@dataclass(frozen=True)
class Comparison:
    """Arms in declared order, control first; metrics: suites, groups, the aggregate, perplexity."""

    control: str
    arms: tuple[str, ...]
    replicates: tuple[str, ...]
    metrics: tuple[Metric, ...]
    scores: tuple[Score, ...]
    references: tuple[Reference, ...]
    effects: tuple[Effect, ...]
    claims: tuple[ClaimResult, ...]
    relative: tuple[RelativeChange, ...]
    """Of every arm against the control."""
    components: tuple[Components, ...]
    """Of every effect whose seeds were crossed, at least two by two."""
    missing: tuple[str, ...]
    """'arm replicate' of every result that is not there."""
    notes: tuple[str, ...]
    """What a reader must know to read the intervals."""
    oracle: Oracle | None = None
    """None without learning curves."""
    beside: tuple[Metric, ...] = ()
    """What has scores and no effects: bits per byte."""

    def score(self, arm: str, metric: str) -> Score:
        """Raises KeyError for an unknown arm or metric."""
        for score in self.scores:
            if (score.arm, score.metric) == (arm, metric):
                return score
        raise KeyError((arm, metric))

    def effect(self, arm: str, against: str, metric: str) -> Effect | None:
        """None where either arm has no result to pair."""
        for effect in self.effects:
            if (effect.arm, effect.against, effect.metric) == (arm, against, metric):
                return effect
        return None

    def to_pandas(self, what: Literal["scores", "effects", "claims"] = "effects") -> pd.DataFrame:
        """A data frame with the columns of scores.csv, effects.csv or claims.csv."""
        from ablab.analysis.notebook import to_pandas

        return to_pandas(self, what)

    def _repr_html_(self) -> str:
        from ablab.analysis.notebook import comparison_html

        return comparison_html(self)

    def to_json(self) -> str:
        """Stable text: the same results give the same bytes."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
