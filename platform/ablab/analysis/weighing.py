"""How suites, tasks and items make a metric: a suite, a group, the aggregate."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.results import ACCURACY, ReplicateResult, task_starts
from ablab.analysis.units import Units, units_of
from ablab.errors import InputError, did_you_mean
from ablab.spec.metrics import AGGREGATE, PERPLEXITY

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Weighing:
    """What makes a metric: items, and suites whose items have no values. All weights sum to 1.

    `columns` [I'] in task order, first column and weight of every task [T].
    """

    columns: NDArray[np.int64]
    starts: NDArray[np.int64]
    weights: Array
    beside: Mapping[str, float]
    """Weight of every suite whose items have no values."""
    units: Units
    """Which of the columns are one cluster."""
    right_or_wrong: bool
    """True when every answer is either; pseudo-values are not."""

    @property
    def items(self) -> int | None:
        """How many have values; None without any."""
        return len(self.columns) or None

    def alike(self) -> bool:
        """True when every answer is right or wrong, every item a cluster of its own, and all weigh the same."""
        per_item = self.weights / self.units.sizes_T
        return self.right_or_wrong and self.units.single and bool(np.ptp(per_item) < 1e-9 * per_item.max())


def suites_of(result: ReplicateResult, metric: str) -> tuple[str, ...]:
    """The suites whose unweighted mean is the metric. Raises `InputError` for an unknown metric."""
    groups = result.groups()
    if metric == AGGREGATE:
        return tuple(result.scores)
    if metric not in groups and metric not in result.scores:
        known = [*result.scores, *groups, AGGREGATE, PERPLEXITY]
        raise InputError(f"metric {metric!r} is not in the results; {did_you_mean(metric, known)}")
    return groups.get(metric, (metric,))


def weighing(result: ReplicateResult, metric: str) -> Weighing:
    """A group or the aggregate is the unweighted mean over its suites, a suite over its sections or tasks, a task over
    its items."""
    suites = suites_of(result, metric)
    sampled = [suite for suite in suites if suite not in result.without_items]
    beside = {suite: 1.0 / len(suites) for suite in suites if suite in result.without_items}
    judged = all(result.scores[suite].metric == ACCURACY for suite in suites)
    columns = np.flatnonzero(np.isin(result.suites, sampled))
    if not len(columns):
        none = np.zeros(0, np.int64)
        return Weighing(columns, none, np.zeros(0), beside, Units(none, none, none, 0), judged)
    starts = task_starts(result.suites[columns], result.tasks[columns])
    within = {suite: result.scores[suite].task_weights() for suite in sampled}
    first = columns[starts]
    names = zip(result.suites[first].tolist(), result.tasks[first].tolist(), strict=True)
    weights = np.array([within[suite][task] / len(suites) for suite, task in names])
    return Weighing(columns, starts, weights, beside, units_of(result.clusters[columns], starts), judged)


def score(result: ReplicateResult, metric: str) -> float:
    """In % as the harness returned it: the mean over the metric's suites; or perplexity."""
    if metric == PERPLEXITY:
        return result.language_modelling.perplexity
    return statistics.fmean(result.scores[suite].score for suite in suites_of(result, metric))


def difference(one: ReplicateResult, other: ReplicateResult, metric: str) -> float:
    """Points; of perplexity, change in % of `other`."""
    change = score(one, metric) - score(other, metric)
    return 100.0 * change / score(other, PERPLEXITY) if metric == PERPLEXITY else change


def beside_score(result: ReplicateResult, how: Weighing) -> float:
    """What the suites whose items have no values contribute to the metric, in points."""
    return sum(weight * result.scores[suite].score for suite, weight in how.beside.items())
