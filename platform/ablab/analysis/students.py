"""Quantiles and tail probabilities that the analysis needs. `scipy.special` is imported when first used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Of every interval."""
POWER = 0.80
"""Of the smallest detectable effect."""
SMALLEST_P, LARGEST_P = 1e-15, 1.0 - 1e-9
LARGEST_EXPONENT = 700.0  # of a double


def t_quantile(df: float | NDArray[np.float64], probability: float) -> Any:
    """Quantile of Student's t; `df` may be an array."""
    from scipy.special import stdtrit

    return stdtrit(df, probability)


def two_sided(level: float = LEVEL) -> float:
    """The probability whose quantile bounds a central interval of this level."""
    return 0.5 + level / 2


def mixed_quantile(share: Any, replicate_df: float, item_df: Any, alpha: float) -> Any:
    """Bound of a two-sided interval at level 1 - `alpha`, between the t quantiles of items and of replicates.

    With t the quantile of the part that has more degrees of freedom, t' that of the other, and w the share of the
    variance which rests on that other part:

        t + (t' - t) [1 - (1 - w^2)^b],    log b = t q (1 + q / 2) / 4,    q = log(t' / t)

    w^2 is how Welch's (1947) expansion begins; b, which carries it to t' at w = 1, was found by numerical integration.
    Over all proportions of the components 95 % intervals cover 94.1 to 96.9 % at one degree of freedom against many,
    94.6 to 95.7 % at two and within 0.4 of 95 % above; smaller alpha err at most 1.24 times as often as they say.
    Cochran's (1964) mean of the quantiles, w in the brackets, covers up to 98 % and errs up to six times too often at
    small alpha. Arrays broadcast.
    """
    from scipy.special import stdtrit

    few = np.asarray(replicate_df < item_df)
    by_items, by_replicates = -stdtrit(item_df, alpha / 2), -stdtrit(replicate_df, alpha / 2)
    low, high = np.where(few, by_items, by_replicates), np.where(few, by_replicates, by_items)
    ratio = np.log(high / low)
    power = np.exp(np.minimum(0.25 * low * ratio * (1.0 + 0.5 * ratio), LARGEST_EXPONENT))
    squared = np.where(few, share, 1.0 - np.asarray(share)) ** 2
    with np.errstate(divide="ignore"):  # a share of 1 has its bound at t'
        return low - (high - low) * np.expm1(power * np.log1p(-squared))


def mixed_p(statistic: float, share: float, replicate_df: float, item_df: float) -> float:
    """The alpha whose `mixed_quantile` is |statistic|, so that p < 0.05 exactly where the 95 % interval excludes 0.

    By bisection, from 1e-15 to almost 1.
    """
    if share in (0.0, 1.0):
        return t_p_value(statistic, replicate_df if share == 1.0 else item_df)
    low, high = math.log(SMALLEST_P), math.log(LARGEST_P)
    for _ in range(60):
        middle = 0.5 * (low + high)
        if mixed_quantile(share, replicate_df, item_df, math.exp(middle)) > abs(statistic):
            low = middle
        else:
            high = middle
    return math.exp(high)


def t_p_value(statistic: float, df: float) -> float:
    """Two-sided p of a t statistic."""
    from scipy.special import stdtr

    return float(min(1.0, 2.0 * stdtr(df, -abs(statistic))))


def detectable_multiple(df: float) -> float:
    """Standard errors by which a true effect must differ from 0 to be found with `POWER`: noncentral t."""
    from scipy.special import nctdtrinc

    return float(nctdtrinc(df, 1.0 - POWER, float(t_quantile(df, two_sided()))))


def variance_bound(df: float) -> float:
    """What the true variance, in units of one estimated with `df`, exceeds with 20 %."""
    from scipy.special import chdtri

    return df / float(chdtri(df, POWER))


def effective_df(critical: float, smallest: float, largest: float) -> float:
    """The degrees of freedom whose t has `critical` as the bound of its central 95 %.

    `critical` lies between the bounds of the two given degrees of freedom, so bisection finds it.
    """
    low, high = float(smallest), float(largest)
    if t_quantile(low, two_sided()) <= critical:
        return low
    for _ in range(200):
        middle = 0.5 * (low + high)
        if t_quantile(middle, two_sided()) > critical:
            low = middle
        else:
            high = middle
    return high


def mcnemar_p(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test: discordant items fall either way with probability 1/2."""
    from scipy.special import bdtr

    discordant = gained + lost
    if discordant == 0:
        return 1.0
    return float(min(1.0, 2.0 * bdtr(min(gained, lost), discordant, 0.5)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted over their family (Holm 1979): the chance of any false positive stays at its level."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = largest
    return tuple(float(p) for p in adjusted)
