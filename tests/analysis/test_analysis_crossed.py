"""Mean squares against a textbook analysis, their invariances, and coverage in simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ablab.analysis.crossed import mean_squares, new_items, new_items_and_replicates, new_replicates
from experiments.benchmarks.coverage import REGIMES, REPLICATES, false_positives, simulated, tasks

Array = NDArray[np.float64]

ONE_TASK = (np.array([0]), np.array([1.0]))


def test_mean_squares_of_one_task_are_those_of_two_way_analysis_of_variance() -> None:
    d = np.array([[3.0, 1.0, 2.0, 6.0], [1.0, 1.0, 4.0, 2.0], [5.0, 2.0, 3.0, 3.0]])
    replicates, items = d.shape
    rows, columns, mean = d.mean(1), d.mean(0), d.mean()
    by_replicate = items * ((rows - mean) ** 2).sum() / (replicates - 1)
    by_item = replicates * ((columns - mean) ** 2).sum() / (items - 1)
    rest = ((d - rows[:, None] - columns + mean) ** 2).sum() / ((replicates - 1) * (items - 1))

    found = mean_squares(d, *ONE_TASK)

    assert found.estimate == pytest.approx(mean)
    assert found.replicates == pytest.approx(by_replicate / (replicates * items))
    assert found.items == pytest.approx(by_item / (replicates * items))
    assert found.rest == pytest.approx(rest / (replicates * items))
    assert (found.replicate_df, float(found.item_df)) == (2, 3.0)


def test_tasks_weigh_by_weight_and_items_within_a_task_equally() -> None:
    d = np.array([[1.0, 1.0, 1.0, 5.0, 7.0]])  # task means 1 and 6
    assert mean_squares(d, np.array([0, 3]), np.array([0.5, 0.5])).estimate == pytest.approx(3.5)


def test_one_replicate_gives_the_standard_error_over_items() -> None:
    d = np.array([[1.0, 0.0, -1.0, 1.0, 1.0]])
    spread = new_items(mean_squares(d, *ONE_TASK))
    assert spread.se == pytest.approx(d.std(ddof=1) / np.sqrt(5))
    assert float(spread.share) == 0.0
    assert float(spread.item_df) == 4.0


def test_a_task_with_one_item_borrows_the_spread_of_the_others() -> None:
    d = np.array([[1.0, 3.0, 9.0]])
    found = mean_squares(d, np.array([0, 2]), np.array([0.5, 0.5]))
    assert found.items == pytest.approx(0.25 * 2.0 / 2 + 0.25 * 2.0 / 1)
    assert found.item_df >= 1.0


def test_two_replicates_that_happen_to_agree_leave_at_least_half_of_what_noise_makes() -> None:
    d = np.array([[1.0, 0.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]])  # both means, and every item's
    squares = mean_squares(d, *ONE_TASK)
    assert float(squares.replicates) == float(squares.items) == 0.0
    assert squares.rest > 0.0
    crossed, items = new_items_and_replicates(squares), new_items(squares)
    assert crossed.se * crossed.critical == pytest.approx(0.5 * items.critical * np.sqrt(squares.rest))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 12))
def test_order_of_replicates_and_of_items_within_tasks_does_not_matter(seed: int, replicates: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    d = rng.integers(-1, 2, (replicates, 2 * items)).astype(np.float64)
    starts, weights = np.array([0, items]), np.array([0.25, 0.75])
    order = np.concatenate([rng.permutation(items), items + rng.permutation(items)])
    one = mean_squares(d, starts, weights)
    other = mean_squares(d[rng.permutation(replicates)][:, order], starts, weights)
    for name in ("estimate", "replicates", "items", "rest", "item_df"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12)


THREE_TASKS = tasks(180, 3)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("replicates", REPLICATES)
def test_interval_covers_the_truth_for_new_items_and_replicates(regime: str, replicates: int) -> None:
    d, truth = simulated(np.random.default_rng(replicates), 2_000, replicates, REGIMES[regime])
    squares = mean_squares(d[0], *THREE_TASKS)
    spread = new_items_and_replicates(squares)
    covered = np.abs(squares.estimate - truth[0]) <= spread.critical * spread.se
    assert 0.93 - 0.01 <= covered.mean() <= 0.97 + 0.01  # two standard errors of 2,000 studies


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("replicates", REPLICATES)
def test_a_true_null_is_rejected_as_seldom_as_is_said(regime: str, replicates: int) -> None:
    """250 studies of 8 claims against one control: the bounds are three standard errors and what p may err."""
    found = false_positives(REGIMES[regime], replicates=replicates, studies=250, seed=3)
    assert 2.5 <= found["at 5 %"] <= 7.5
    assert found["at 0.5 %"] <= 0.5 * 1.24 + 0.5
    assert found["any of 8 after Holm"] <= 5.0 + 4.1


def test_these_items_alone_do_not_speak_of_new_ones() -> None:
    d, truth = simulated(np.random.default_rng(1), 1_000, 5, REGIMES["items dominate"])
    squares = mean_squares(d[0], *THREE_TASKS)
    spread = new_replicates(squares)
    assert (np.abs(squares.estimate - truth[0]) <= spread.critical * spread.se).mean() < 0.7


def test_variance_is_unbiased() -> None:
    d, truth = simulated(np.random.default_rng(7), 3_000, 3, REGIMES["mixed"])
    squares = mean_squares(d[0], *THREE_TASKS)
    estimated = (squares.replicates + squares.items - squares.rest).mean()
    assert estimated == pytest.approx(float(((squares.estimate - truth[0]) ** 2).mean()), rel=0.08)
