"""The paired difference of two arms in one metric, with its uncertainty (see `crossed` for the model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.comparison import Effect, Inference, Interval
from ablab.analysis.crossed import (
    Array,
    MeanSquares,
    Spread,
    mean_squares,
    new_items,
    new_items_and_replicates,
    new_replicates,
    over_replicates,
)
from ablab.analysis.results import ArmResults, ReplicateResult, same_items
from ablab.analysis.students import detectable_multiple, effective_df, mcnemar_p, mixed_p, t_p_value
from ablab.analysis.study import bootstrap
from ablab.analysis.weighing import Weighing, beside_score, difference, score, weighing
from ablab.errors import InputError
from ablab.spec.metrics import PERPLEXITY

NEGLIGIBLE = 1e-9  # a standard error below this is rounding: nothing varies


def paired_effect(
    arm: ArmResults, against: ArmResults, metric: str, rows: Sequence[Sequence[int]] | None = None
) -> Effect | None:
    """`arm` - `against`, item by item and replicate by replicate; None when no position has both results.

    Args:
        arm: results of the same items as `against`.
        against: what is subtracted; position i of both is one pair.
        metric: a suite, a group, the aggregate, or perplexity.
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
        relative=_relative_mean(metric, pairs),
        cohens_h=_cohens_h(metric, pairs) if found.items and metric != PERPLEXITY else None,
        hedges_g=_hedges_g(found.estimate, found.replicate_sd, len(pairs)),
        replicate_sd=found.replicate_sd,
        item_sd=found.item_sd,
        item_df=found.item_df,
        study_low=found.study[0] if found.study else None,
        study_high=found.study[1] if found.study else None,
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
    replicate_sd: float | None = None
    item_sd: float | None = None
    item_df: float | None = None
    study: tuple[float, float] | None = None


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
    beside_R = np.array([np.mean([beside_score(a, how) - beside_score(b, how) for a, b in row]) for row in pairs])
    if how.items is None:
        return _over_replicates(beside_R)
    change_RI = np.stack([item_changes(row, how.columns) for row in pairs])
    squares = mean_squares(100.0 * change_RI, how.starts, how.weights, beside_R, how.units)
    testable = float(squares.item_df) >= 1.0  # some task has two clusters
    found = _one_replicate if len(pairs) == 1 else _several_replicates
    difference = found(change_RI, squares, how, pairs, testable)
    if not how.right_or_wrong or not testable:
        return difference
    runs = [item_changes([pair], how.columns) for row in pairs for pair in row]
    return replace(difference, study=bootstrap(runs, how.starts, how.weights))


def _several_replicates(
    _change_RI: Array, squares: MeanSquares, how: Weighing, pairs: Pairs, testable: bool
) -> _Difference:
    estimate = float(squares.estimate)
    these = _interval(estimate, new_replicates(squares), "new replicates")
    scope: Inference = "new replicates and some items" if how.beside else "new items and replicates"
    interval = _interval(estimate, new_items_and_replicates(squares), scope) if testable else None
    return _Difference(
        estimate,
        interval,
        these,
        _p(estimate, interval),
        "t",
        how.items,
        replicate_sd=float(np.sqrt(squares.replicates * len(pairs))),
        item_sd=float(np.sqrt(np.maximum(squares.items - squares.rest, 0.0))) if testable else None,
        item_df=float(squares.item_df) if testable else None,
    )


def _one_replicate(change_RI: Array, squares: MeanSquares, how: Weighing, pairs: Pairs, testable: bool) -> _Difference:
    """New items only. Suites whose items have no values then leave no interval: nothing says how much they vary.

    McNemar's exact test is of right or wrong answers that count alike; where they do not, or where averaged positions
    give fractions, p is that of t over items; over clusters, where rows share a story.
    """
    estimate = float(squares.estimate)
    if how.beside:
        return _Difference(estimate, None, None, None, "t", how.items)
    interval = _interval(estimate, new_items(squares), "new items") if testable else None
    if not (len(pairs[0]) == 1 and how.alike()):
        test = "t over items" if how.units.single else "t over clusters"
        return _Difference(estimate, interval, None, _p(estimate, interval), test, how.items)
    p = mcnemar_p(int((change_RI > 0).sum()), int((change_RI < 0).sum()))
    return _Difference(estimate, interval, None, p, "exact McNemar", how.items)


def item_changes(row: list[tuple[ReplicateResult, ReplicateResult]], columns: NDArray[np.int64]) -> Array:
    """Difference of answers [I], averaged over the pairs of one row."""
    total = np.zeros(len(columns))
    for one, other in row:
        total += one.answers[columns] - other.answers[columns]
    return total / len(row)


def _perplexity_difference(pairs: Pairs) -> _Difference:
    """Relative change in % of `against`, paired by replicate."""
    return _over_replicates(np.array([np.mean([difference(*pair, PERPLEXITY) for pair in row]) for row in pairs]))


def _over_replicates(changes_R: Array) -> _Difference:
    """What is one number per replicate: t over replicates, and nothing from one."""
    estimate = float(changes_R.mean())
    if len(changes_R) == 1:
        return _Difference(estimate, None, None, None, "t", None)
    variance = np.asarray(changes_R.var(ddof=1) / len(changes_R))
    interval = _interval(estimate, over_replicates(variance, len(changes_R) - 1), "new replicates")
    sd = float(changes_R.std(ddof=1))
    return _Difference(estimate, interval, None, _p(estimate, interval), "t", None, replicate_sd=sd)


def _scores(metric: str, pairs: Pairs) -> tuple[float, float]:
    """Mean scores of both arms; every row weighs the same."""
    rows = [np.mean([[score(result, metric) for result in pair] for pair in row], axis=0) for row in pairs]
    one, other = np.mean(rows, axis=0)
    return float(one), float(other)


def _relative_mean(metric: str, pairs: Pairs) -> float | None:
    if metric == PERPLEXITY:
        return None  # its estimate is relative
    one, other = _scores(metric, pairs)
    return None if other == 0.0 else 100.0 * (one - other) / other


def _cohens_h(metric: str, pairs: Pairs) -> float | None:
    """Of mean accuracies (Cohen 1988)."""
    if not weighing(pairs[0][0][0], metric).right_or_wrong:
        return None
    one, other = np.arcsin(np.sqrt(np.clip(np.array(_scores(metric, pairs)) / 100.0, 0.0, 1.0)))
    return float(2.0 * (one - other))


def _hedges_g(estimate: float, replicate_sd: float | None, replicates: int) -> float | None:
    """Hedges' correction 1 - 3 / (4 df - 1) of the estimate in standard deviations; from three replicates on."""
    if replicate_sd is None or replicate_sd < NEGLIGIBLE or replicates < 3:
        return None
    return estimate / replicate_sd * (1.0 - 3.0 / (4.0 * (replicates - 1) - 1.0))


def _interval(estimate: float, spread: Spread, inference: Inference) -> Interval | None:
    """None when nothing varies and yet the estimate is not 0: a spread of 0 would be certainty from nothing."""
    se, critical, share = float(spread.se), float(spread.critical), float(spread.share)
    replicate_df, item_df = float(spread.replicate_df), float(spread.item_df)
    df = replicate_df if share == 1.0 else item_df
    mixed = 0.0 < share < 1.0
    if mixed:
        df = effective_df(critical, min(replicate_df, item_df), max(replicate_df, item_df))
    if se < NEGLIGIBLE:
        return Interval(0.0, 0.0, 0.0, df, inference) if abs(estimate) < NEGLIGIBLE else None
    both = (replicate_df, item_df) if mixed else (None, None)
    return Interval(estimate - critical * se, estimate + critical * se, se, df, inference, share, *both)


def _p(estimate: float, interval: Interval | None) -> float | None:
    if interval is None:
        return None
    return p_beyond(estimate, 0.0, interval)


def p_beyond(estimate: float, boundary: float, interval: Interval) -> float:
    """Two-sided p of a true effect at `boundary`: below 0.05 exactly where the interval excludes it."""
    if interval.se == 0.0:
        return 1.0 if estimate == boundary else 0.0
    statistic = (estimate - boundary) / interval.se
    if interval.replicate_df is None or interval.item_df is None:
        return t_p_value(statistic, interval.df)
    return mixed_p(statistic, interval.share, interval.replicate_df, interval.item_df)


def _detectable(interval: Interval | None) -> float | None:
    if interval is None or interval.se == 0.0:
        return None
    return interval.se * detectable_multiple(interval.df)
