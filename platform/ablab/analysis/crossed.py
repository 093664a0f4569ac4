"""Uncertainty of a mean difference when items are crossed with replicates.

Model: d[r, i] = effect + replicate[r, task] + item[i] + rest[r, i], items sampled within fixed tasks. Three mean
squares, each carried to the variance of the weighted mean (unbiased under the model):

    replicates  V_R = s^2 of the replicates' weighted means / R                estimates replicate/R + rest
    items       V_I = sum over tasks of weight^2 s^2 of item means / I_t       estimates item + rest
    rest        V_E = sum over tasks of weight^2 residual mean square / (R I_t)

The variance for new items and new replicates is V = V_R + (V_I - V_E), its item part not below zero. V_R rests on
R - 1 degrees of freedom, the item part on hundreds, so the bound lies between their t quantiles, where the share
w = V_R / V puts it (`students.mixed_quantile`). Satterthwaite's approximation covers 87 to 95 % at two replicates,
because it trusts a small V_R; Cochran's mean of the quantiles (1964) up to 98 %. This one covers 94.1 to 96.9 % at two
replicates, 94.6 to 95.7 % at three and within 0.4 of 95 % above, whatever the components are.

Two replicates that happen to agree would make an interval of no length. V_R is therefore taken to be at least so much
of V_E, what noise alone would make it, that the interval is never less than half as long as the noise would have it.
A whole length instead of half would cover 99 % where seeds make no difference.

Rows that share a story are one cluster (`units`). In V_I and V_E a task is then a sample of clusters instead of items:
the deviations of a cluster's rows are summed, and sums of one cluster in several tasks of a suite are added before
they are squared, which brings in the covariance of those tasks. V_R needs no change.

Where no answer is right or wrong (correlations, increments of R^2) an item has a pseudo-value, what it adds to the
score by the jackknife, whose mean over items is the score. It stands in d as any answer does.

A metric may also hold suites whose items have no values, which reach us as one number per replicate: `beside`. It
moves the replicates' means, so V_R is the variance of the whole difference over replicates, and V_I - V_E adds what
its other suites' items contribute, with their weights. The interval then speaks of new replicates, of new items of
those suites, and of these items elsewhere.
"""

# R replicates, I items, C cells (a cluster's rows in one task), K clusters, T tasks, S strata (tasks linked by
# clusters); items of one task stand together. Leading axes (...) are independent studies.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.students import LEVEL, mixed_quantile, t_quantile, two_sided
from ablab.analysis.units import Units, units_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MeanSquares:
    """Estimate and the three variances of its mean, each of the leading shape; in squared units of d."""

    estimate: Array
    replicates: Array
    items: Array
    rest: Array
    replicate_df: int
    item_df: Array
    """Satterthwaite's degrees of freedom of `items`, over the strata; 0 where no task has two clusters."""


@dataclass(frozen=True)
class Spread:
    """A standard error, the share of its variance that rests on replicates, and both degrees of freedom."""

    se: Array
    share: Array
    replicate_df: int
    item_df: Array

    @property
    def critical(self) -> Array:
        """The multiple of the standard error that bounds the 95 % interval."""
        bound: Array = mixed_quantile(self.share, self.replicate_df, self.item_df, 1.0 - LEVEL)
        return bound


def mean_squares(
    d: Array, starts: NDArray[np.int64], weights: Array, beside: Array | float = 0.0, units: Units | None = None
) -> MeanSquares:
    """Mean squares of d [..., R, I].

    `starts` [T] are the first columns of the tasks, `weights` [T] sum to 1 less the share of `beside`. Within a task
    items weigh the same. `beside` [..., R] is what suites whose items have no values add to every replicate, already
    weighted. `units` says which items are one cluster; None: each its own. With one replicate `replicates` and `rest`
    are zero.
    """
    replicates = d.shape[-2]
    units = units_of(np.arange(d.shape[-1]), starts) if units is None else units
    sizes_T = units.sizes_T
    means_RT = np.add.reduceat(d, starts, axis=-1) / sizes_T
    rows_R = means_RT @ weights + beside
    items_I = d.mean(axis=-2)
    fitted_I = np.repeat(means_RT.mean(axis=-2), sizes_T, axis=-1)
    terms_S = _variances((items_I - fitted_I)[..., None, :], 1, units, weights)
    items, item_df = terms_S.sum(axis=-1), _satterthwaite(terms_S, units.df_S(weights))
    zero = np.zeros_like(items)
    if replicates == 1:
        return MeanSquares(rows_R.mean(axis=-1), zero, items, zero, 0, item_df)
    rest_RI = d - items_I[..., None, :] - np.repeat(means_RT, sizes_T, axis=-1) + fitted_I[..., None, :]
    return MeanSquares(
        estimate=rows_R.mean(axis=-1),
        replicates=rows_R.var(axis=-1, ddof=1) / replicates,
        items=items,
        rest=_variances(rest_RI, replicates - 1, units, weights).sum(axis=-1) / replicates,
        replicate_df=replicates - 1,
        item_df=item_df,
    )


def new_items_and_replicates(squares: MeanSquares) -> Spread:
    """For items and replicates drawn anew."""
    item_df = np.maximum(squares.item_df, 1.0)
    item_part = np.maximum(squares.items - squares.rest, 0.0)
    ratio = t_quantile(item_df, two_sided()) / t_quantile(squares.replicate_df, two_sided())
    replicates = np.maximum(squares.replicates, (0.5 * ratio) ** 2 * squares.rest)
    variance = replicates + item_part
    share = np.divide(replicates, variance, out=np.zeros_like(variance), where=variance > 0)
    return Spread(np.sqrt(variance), share, squares.replicate_df, item_df)


def new_replicates(squares: MeanSquares) -> Spread:
    """For these items and replicates drawn anew: t over the replicates' means."""
    return over_replicates(squares.replicates, squares.replicate_df)


def over_replicates(variance: Array, df: int) -> Spread:
    """t over replicates, whose mean has this variance."""
    return Spread(np.sqrt(variance), np.ones_like(variance), df, np.ones_like(variance))


def new_items(squares: MeanSquares) -> Spread:
    """For items drawn anew and these replicates: all that one replicate can tell."""
    item_df = np.maximum(squares.item_df, 1.0)
    return Spread(np.sqrt(squares.items), np.zeros_like(squares.items), 1, item_df)


def _variances(e: Array, copies: int, units: Units, weights: Array) -> Array:
    """Variance of the weighted mean by stratum [..., S], from deviations e [..., r, I] with `copies` times the degrees
    of freedom of one row of them."""
    count_T = units.cells_T
    sums_C = np.add.reduceat(e, units.cells, axis=-1) * (count_T / units.sizes_T)[units.task_C]
    squares_T = np.add.reduceat((sums_C**2).sum(axis=-2), units.first_T, axis=-1)
    terms_T: Array = weights**2 / count_T * _within(squares_T, copies * (count_T - 1))
    order, begins = units.spanning
    if not len(order):
        return terms_T
    scale_T = weights / np.sqrt(copies * count_T * np.maximum(count_T - 1, 1))
    parts_C = sums_C[..., order] * scale_T[units.task_C[order]]
    together_K = np.add.reduceat(parts_C, begins, axis=-1) ** 2 - np.add.reduceat(parts_C**2, begins, axis=-1)
    strata = np.eye(int(units.stratum_T.max()) + 1)[units.stratum_T]
    covariance_S = together_K.sum(axis=-2) @ strata[units.task_C[order[begins]]]
    together_S: Array = np.maximum(terms_T @ strata + covariance_S, 0.0)
    return together_S


def _within(squares_T: Array, df_T: NDArray[np.int64]) -> Array:
    """Mean squares by task; a task with one cluster borrows the pooled one."""
    pooled = squares_T.sum(axis=-1, keepdims=True) / max(int(df_T.sum()), 1)
    result: Array = np.where(df_T > 0, squares_T / np.maximum(df_T, 1), pooled)
    return result


def _satterthwaite(terms_S: Array, df_S: Array) -> Any:
    """Degrees of freedom of the sum; where every term is zero, the sum of those of the strata."""
    total = terms_S.sum(axis=-1)
    below = (terms_S**2 / np.maximum(df_S, 1.0)).sum(axis=-1)
    plain = np.full_like(total, float(df_S.sum()))
    return np.divide(total**2, below, out=plain, where=below > 0)
