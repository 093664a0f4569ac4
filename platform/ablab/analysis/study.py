"""The study's own procedure (Ulm, Du & Snaebjarnarson 2025), for its numbers to be set beside ours.

**Interval**: paired bootstrap. Within every pair of runs items are drawn again (B = 1,000), the 2.5 and 97.5
percentiles are taken, and the bounds are averaged over seeds. It speaks of new items for the average run; seeds are
not drawn again, so it does not narrow with more of them, nor does it know their spread. Rows that share a story are
drawn one by one, as the study did it, so it is too narrow for entity tracking.

**Aggregate** μΔREL: mean relative change against the baseline over seven suites. A relative change says nothing where
the baseline is near 0; such terms are marked. A mean that lacks a suite is not called μΔREL.

Its rule for checkpoints, the best of 16 on the evaluation itself, is in `oracle`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.comparison import RelativeChange, RelativeTerm
from ablab.analysis.crossed import Array, mean_squares
from ablab.analysis.results import ArmResults, ReplicateResult
from ablab.analysis.weighing import weighing

BOOTSTRAPS = 1_000
BOOTSTRAP_SEED = 20_251_008
MU_DELTA_REL = "μΔREL"
STUDY_SUITES = (
    "blimp",
    "supplement",
    "entity_tracking",
    "ewok",
    "wug_adj_nominalization",
    "self_paced_reading",
    "eye_tracking",
)


def bootstrap(changes: Sequence[Array], starts: NDArray[np.int64], weights: Array) -> tuple[float, float]:
    """Bounds in points from the changes of correctness (-1, 0, 1) [I] of every pair of runs.

    Drawing n items of a task again and averaging their changes is drawing how many of them are +1 and -1: multinomial.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    bounds = []
    for change_I in changes:
        sizes_T = np.diff(np.append(starts, len(change_I)))
        gained_T = np.add.reduceat(change_I > 0, starts) / sizes_T
        lost_T = np.add.reduceat(change_I < 0, starts) / sizes_T
        chances = np.stack([gained_T, lost_T, np.maximum(1.0 - gained_T - lost_T, 0.0)], axis=-1)
        drawn_BT3 = rng.multinomial(sizes_T, chances, (BOOTSTRAPS, len(sizes_T)))
        means_B = ((drawn_BT3[..., 0] - drawn_BT3[..., 1]) / sizes_T) @ weights
        bounds.append(np.quantile(means_B, (0.025, 0.975)))
    low, high = 100.0 * np.mean(bounds, axis=0)
    return float(low), float(high)


def relative_change(
    arm: ArmResults, against: ArmResults, suites: Sequence[str], official: Collection[str]
) -> RelativeChange | None:
    """Over the study's suites that there are; over all of `suites` where there is none. None without a pair.

    Only `official` suites, BabyLM's own, can be the study's: others may have their names.
    """
    both = zip(arm.replicates, against.replicates, strict=True)
    pairs = [(one, other) for one, other in both if one is not None and other is not None]
    if not pairs:
        return None
    present = [suite for suite in STUDY_SUITES if suite in official]
    missing = tuple(suite for suite in STUDY_SUITES if suite not in official)
    terms = tuple(_term(suite, pairs) for suite in present or suites)
    relatives = [term.relative for term in terms if term.relative is not None]
    return RelativeChange(
        arm=arm.arm,
        against=against.arm,
        name="mean relative change" if missing else MU_DELTA_REL,
        mean=statistics.fmean(relatives) if len(relatives) == len(terms) else None,
        points=statistics.fmean(term.change for term in terms),
        terms=terms,
        missing=missing,
        replicates=len(pairs),
    )


def _term(suite: str, pairs: Sequence[tuple[ReplicateResult, ReplicateResult]]) -> RelativeTerm:
    """Of mean scores over replicates: a mean of relative changes would be thrown about by single small baselines."""
    scores = [one.scores[suite].score for one, _ in pairs]
    baselines = [other.scores[suite].score for _, other in pairs]
    baseline = statistics.fmean(baselines)
    change = statistics.fmean(scores) - baseline
    se = _standard_error(suite, [other for _, other in pairs])
    return RelativeTerm(
        metric=suite,
        baseline=baseline,
        change=change,
        relative=100.0 * change / baseline if baseline != 0.0 else None,
        baseline_se=se,
        unstable=baseline == 0.0 or (se is not None and abs(baseline) < 2.0 * se),
    )


def _standard_error(suite: str, results: Sequence[ReplicateResult]) -> float | None:
    """Of a mean score: over replicates, or over the items of a single one; None where they have no values."""
    if len(results) > 1:
        return statistics.stdev(result.scores[suite].score for result in results) / math.sqrt(len(results))
    how = weighing(results[0], suite)
    if how.items is None:
        return None
    answers_1I = 100.0 * results[0].answers[None, how.columns]
    squares = mean_squares(answers_1I, how.starts, how.weights, units=how.units)
    return float(np.sqrt(squares.items))
