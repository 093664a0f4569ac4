"""Laws of the small statistics: t, McNemar, Holm, effective degrees of freedom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import chi2, norm, t

from ablab.analysis.crossed import MeanSquares, new_items_and_replicates
from ablab.analysis.students import (
    effective_df,
    holm,
    mcnemar_p,
    mixed_p,
    mixed_quantile,
    t_p_value,
    t_quantile,
    two_sided,
)


def test_t_agrees_with_scipy_stats() -> None:
    assert t_quantile(4, 0.975) == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-9)
    assert t_p_value(-2.5, 7.5) == pytest.approx(2 * stats.t.sf(2.5, 7.5), rel=1e-9)


@pytest.mark.parametrize(("gained", "lost"), [(8, 0), (3, 9), (10, 10), (1, 0)])
def test_mcnemar_is_the_binomial_test_of_discordant_items(gained: int, lost: int) -> None:
    assert mcnemar_p(gained, lost) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_mcnemar_without_discordant_items_is_one() -> None:
    assert mcnemar_p(0, 0) == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1 is 0.03, 0.04, 0.04; never falling.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_p_and_bonferroni(p_values: list[float]) -> None:
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1.0, len(p_values) * p)


@given(st.floats(1.0, 500.0))
def test_effective_df_inverts_the_t_quantile(df: float) -> None:
    critical = float(t_quantile(df, two_sided()))
    assert float(t_quantile(effective_df(critical, 1.0, 1000.0), two_sided())) == pytest.approx(critical, rel=1e-9)


def err_rate(alpha: float, replicates: int, item: float, seeds: float) -> float:
    """How often the bound at `alpha` errs, by numerical integration: noise makes 1 - `item`, many items are known.

    Variances of the mean: `item` of the items, 1 - `item` of noise, `seeds` of replicates.
    """
    df = replicates - 1
    chance = (np.arange(2_000) + 0.5) / 2_000
    noise = 1.0 - item
    squares = mean_squares_of((noise + seeds) * chi2.ppf(chance, df) / df, item, noise, df)
    spread = new_items_and_replicates(squares)
    bound = mixed_quantile(spread.share, df, spread.item_df, alpha) * spread.se
    return float(2.0 * norm.sf(bound / np.sqrt(1.0 + seeds)).mean())


def mean_squares_of(replicates: Any, item: float, noise: float, df: int) -> MeanSquares:
    flat = np.ones_like(replicates)
    return MeanSquares(0.0 * flat, replicates, (item + noise) * flat, noise * flat, df, 1e9 * flat)


COMPONENTS = [(item, seeds) for item in (0.0, 0.2, 0.5, 0.8, 0.98) for seeds in (0.0, 0.1, 0.5, 1.0, 4.0, 20.0, 200.0)]


@pytest.mark.parametrize("replicates", [2, 3, 5, 10])
def test_intervals_cover_between_93_and_97_percent_whatever_the_components(replicates: int) -> None:
    covered = [1.0 - err_rate(0.05, replicates, *parts) for parts in COMPONENTS]
    assert min(covered) >= 0.938
    assert max(covered) <= 0.970


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.005, 0.001])
def test_small_levels_err_hardly_more_often_than_they_say(alpha: float) -> None:
    assert max(err_rate(alpha, 2, *parts) for parts in COMPONENTS) <= 1.25 * alpha
    assert max(err_rate(alpha, 3, *parts) for parts in COMPONENTS) <= 1.2 * alpha


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.003, 1e-6])
def test_p_is_the_level_whose_bound_is_the_statistic(share: float, alpha: float) -> None:
    bound = float(mixed_quantile(share, 2.0, 80.0, alpha))
    assert mixed_p(bound, share, 2.0, 80.0) == pytest.approx(alpha, rel=1e-6)
    assert mixed_p(-bound, share, 2.0, 80.0) == mixed_p(bound, share, 2.0, 80.0)


def test_p_of_replicates_or_items_alone_is_that_of_their_t() -> None:
    assert mixed_p(2.0, 1.0, 3.0, 80.0) == pytest.approx(2 * t.sf(2.0, 3.0))
    assert mixed_p(2.0, 0.0, 3.0, 80.0) == pytest.approx(2 * t.sf(2.0, 80.0))
