"""Laws of the small statistics: t, McNemar, Holm, effective degrees of freedom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablab.analysis.students import effective_df, holm, mcnemar_p, t_p_value, t_quantile, two_sided


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
