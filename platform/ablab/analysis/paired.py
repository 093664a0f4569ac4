"""The paired difference of two arms in one metric, with its uncertainty (see `crossed` for the model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.comparison import Effect, Inference, Interval
from ablab.analysis.crossed import Array, Spread, mean_squares, new_items, new_items_and_replicates, new_replicates
from ablab.analysis.results import ArmResults, ReplicateResult, same_items, task_starts
from ablab.analysis.students import detectable_multiple, effective_df, mcnemar_p, t_p_value, t_quantile, two_sided
from ablab.errors import InputError, did_you_mean
from ablab.spec.metrics import PERPLEXITY

NEGLIGIBLE = 1e-9  # a standard error below this is rounding: nothing varies


@dataclass(frozen=True)
class Weighing:
    """How items make a metric: `columns` [I'] in task order, first column and weight of every task [T]."""

    columns: NDArray[np.int64]
    starts: NDArray[np.int64]
    weights: Array


def weighing(result: ReplicateResult, metric: str) -> Weighing:
    """A group is the unweighted mean over its suites, a suite over its tasks, a task over its items."""
    suites = result.groups().get(metric, (metric,))
    unknown = [suite for suite in suites if suite not in result.scores]
    if unknown:
        known = [*result.scores, *result.groups(), PERPLEXITY]
        raise InputError(f"metric {metric!r} is not in the results; {did_you_mean(metric, known)}")
    columns = np.flatnonzero(np.isin(result.suites, suites))
    starts = task_starts(result.suites[columns], result.tasks[columns])
    names = result.suites[columns][starts]
    weights = np.array([1.0 / (len(suites) * np.count_nonzero(names == name)) for name in names])
    return Weighing(columns, starts, weights)


def paired_effect(
    arm: ArmResults, against: ArmResults, metric: str, rows: Sequence[Sequence[int]] | None = None
) -> Effect | None:
    """`arm` - `against`, item by item and replicate by replicate; None when no position has both results.

    Args:
        arm: results of the same items as `against`.
        against: what is subtracted; position i of both is one pair.
        metric: a suite, a group, or perplexity.
        rows: positions that count as one replicate (they share a training seed) and are averaged; each its own
            when None.

    Raises:
        InputError: the metric is unknown, or the arms were scored on different items.
    """
    pairs = _pairs(arm, against, rows)
    if not pairs:
        return None
    if metric != PERPLEXITY and not _same_items(pairs):
        raise InputError(
            f"{arm.arm} and {against.arm} were scored on different items; evaluate both on the same suites"
        )
    found = _perplexity_difference(pairs) if metric == PERPLEXITY else _score_difference(metric, pairs)
    return Effect(
        arm=arm.arm,
        against=against.arm,
        metric=metric,
        unit="%" if metric == PERPLEXITY else "points",
        estimate=found.estimate,
        interval=found.interval,
        these_items=found.these_items,
        p=found.p,
        test=None if found.p is None else found.test,
        detectable=_detectable(found.interval),
        items=found.items,
        replicates=len(pairs),
    )


Pairs = list[list[tuple[ReplicateResult, ReplicateResult]]]
"""Rows of (arm, against); the pairs of one row are averaged."""


@dataclass(frozen=True)
class _Difference:
    estimate: float
    interval: Interval | None
    these_items: Interval | None
    p: float | None
    test: str
    items: int | None


def _same_items(pairs: Pairs) -> bool:
    first = pairs[0][0][0]
    return all(same_items(result, first) for row in pairs for pair in row for result in pair)


def _pairs(arm: ArmResults, against: ArmResults, rows: Sequence[Sequence[int]] | None) -> Pairs:
    if len(arm.replicates) != len(against.replicates):
        raise InputError(
            f"{arm.arm} has {len(arm.replicates)} replicate positions, {against.arm} {len(against.replicates)}; "
            "list one result or None for every declared replicate"
        )
    found = []
    for row in rows if rows is not None else [[i] for i in range(len(arm.replicates))]:
        both = [(arm.replicates[i], against.replicates[i]) for i in row]
        kept = [(one, other) for one, other in both if one is not None and other is not None]
        if kept:
            found.append(kept)
    return found


def _score_difference(metric: str, pairs: Pairs) -> _Difference:
    how = weighing(pairs[0][0][0], metric)
    change_RI = np.stack([_change(row, how.columns) for row in pairs])
    squares = mean_squares(100.0 * change_RI, how.starts, how.weights)
    estimate, items = float(squares.estimate), len(how.columns)
    testable = float(squares.item_df) >= 1.0  # some task has two items
    if len(pairs) == 1:
        interval = _interval(estimate, new_items(squares), "new items") if testable else None
        if len(pairs[0]) > 1:  # averaged positions give fractions, to which McNemar's test does not apply
            return _Difference(estimate, interval, None, _p(estimate, interval), "t", items)
        p = mcnemar_p(int((change_RI > 0).sum()), int((change_RI < 0).sum()))
        return _Difference(estimate, interval, None, p, "exact McNemar", items)
    these = _interval(estimate, new_replicates(squares), "new replicates")
    interval = _interval(estimate, new_items_and_replicates(squares), "new items and replicates") if testable else None
    return _Difference(estimate, interval, these, _p(estimate, interval), "t", items)


def _change(row: list[tuple[ReplicateResult, ReplicateResult]], columns: NDArray[np.int64]) -> Array:
    """Difference of correctness [I], averaged over the pairs of one row."""
    total = np.zeros(len(columns))
    for one, other in row:
        total += one.correct[columns].astype(np.float64) - other.correct[columns]
    return total / len(row)


def _perplexity_difference(pairs: Pairs) -> _Difference:
    """Relative change in % of `against`, paired by replicate; t over replicates."""
    changes_R = np.array([np.mean([_relative(one, other) for one, other in row]) for row in pairs])
    estimate = float(changes_R.mean())
    if len(pairs) == 1:
        return _Difference(estimate, None, None, None, "t", None)
    df = np.array(len(pairs) - 1.0)
    se = np.asarray(changes_R.std(ddof=1) / np.sqrt(len(pairs)))
    interval = _interval(estimate, Spread(se, np.asarray(t_quantile(df, two_sided())), df, df), "new replicates")
    return _Difference(estimate, interval, None, _p(estimate, interval), "t", None)


def _relative(one: ReplicateResult, other: ReplicateResult) -> float:
    return 100.0 * (one.language_modelling.perplexity / other.language_modelling.perplexity - 1.0)


def _interval(estimate: float, spread: Spread, inference: Inference) -> Interval | None:
    """None when nothing varies and yet the estimate is not 0: a spread of 0 would be certainty from nothing."""
    se, critical = float(spread.se), float(spread.critical)
    df = effective_df(critical, float(spread.smallest_df), float(spread.largest_df))
    if se < NEGLIGIBLE:
        return Interval(0.0, 0.0, 0.0, df, inference) if abs(estimate) < NEGLIGIBLE else None
    return Interval(estimate - critical * se, estimate + critical * se, se, df, inference)


def _p(estimate: float, interval: Interval | None) -> float | None:
    if interval is None:
        return None
    return p_beyond(estimate, 0.0, interval)


def p_beyond(estimate: float, boundary: float, interval: Interval) -> float:
    """Two-sided p of a true effect at `boundary`, from the t of the interval."""
    if interval.se == 0.0:
        return 1.0 if estimate == boundary else 0.0
    return t_p_value((estimate - boundary) / interval.se, interval.df)


def _detectable(interval: Interval | None) -> float | None:
    if interval is None or interval.se == 0.0:
        return None
    return interval.se * detectable_multiple(interval.df)
