"""Rows that share a story are one unit of the sample: by hand, as a law, and in simulated studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ablab.analysis import ArmResults, Effect, compare, load_result, paired_effect
from ablab.analysis.crossed import mean_squares, new_items, new_items_and_replicates
from ablab.analysis.units import Units, units_of
from experiments.benchmarks.coverage import REGIMES, coverage_of_stories, simulated, tasks, told

Write = Callable[..., Path]
Answers = Callable[..., Any]
FIELDS = ("estimate", "replicates", "items", "rest", "item_df")


def test_single_clusters_are_items() -> None:
    rng = np.random.default_rng(1)
    starts, weights = np.array([0, 1, 6]), np.array([0.2, 0.5, 0.3])
    d = rng.integers(-1, 2, (4, 3, 12)).astype(np.float64)
    plain = mean_squares(d, starts, weights)
    single = mean_squares(d, starts, weights, units=units_of(rng.permutation(12), starts))
    means = d.mean(axis=-2)
    by_hand = 0.25 * means[:, 1:6].var(axis=-1, ddof=1) / 5 + 0.09 * means[:, 6:].var(axis=-1, ddof=1) / 6
    pooled = (4 * means[:, 1:6].var(axis=-1, ddof=1) + 5 * means[:, 6:].var(axis=-1, ddof=1)) / 9
    assert plain.items == pytest.approx(by_hand + 0.04 * pooled, abs=1e-12)  # the first task has one item
    for name in FIELDS:
        assert getattr(single, name) == pytest.approx(getattr(plain, name), abs=1e-12)


@pytest.mark.parametrize("replicates", [1, 2, 3])
def test_copies_of_an_item_in_one_task_say_no_more_than_the_item(replicates: int) -> None:
    rng = np.random.default_rng(replicates)
    d = rng.integers(-1, 2, (replicates, 10)).astype(np.float64)
    starts, weights = np.array([0, 4]), np.array([0.5, 0.5])
    one = mean_squares(d, starts, weights)
    copied = units_of(np.repeat(np.arange(10), 3), starts * 3)
    three = mean_squares(np.repeat(d, 3, axis=-1), starts * 3, weights, units=copied)
    for name in FIELDS:
        assert getattr(three, name) == pytest.approx(getattr(one, name), abs=1e-12)


@pytest.mark.parametrize("replicates", [1, 2, 3])
def test_the_same_rows_in_two_tasks_say_no_more_than_in_one(replicates: int) -> None:
    rng = np.random.default_rng(replicates)
    d = rng.integers(-1, 2, (replicates, 8)).astype(np.float64)
    one = mean_squares(d, np.array([0]), np.array([1.0]))
    starts, weights = np.array([0, 8]), np.array([0.3, 0.7])
    two = mean_squares(np.tile(d, 2), starts, weights, units=units_of(np.tile(np.arange(8), 2), starts))
    for name in ("estimate", "replicates", "items", "rest"):
        assert getattr(two, name) == pytest.approx(getattr(one, name), abs=1e-12)
    assert float(two.item_df) == pytest.approx(7.0)
    assert mean_squares(np.tile(d, 2), starts, weights).items < 0.6 * one.items + 1e-12


def test_degrees_of_freedom_are_those_of_the_clusters() -> None:
    starts, weights = np.array([0, 6, 10]), np.array([0.4, 0.3, 0.3])
    clusters = np.array([0, 0, 1, 1, 2, 2, 0, 1, 2, 2, 3, 4, 5, 6])
    units = units_of(clusters, starts)
    assert units.stratum_T.tolist() == [0, 0, 1]
    assert units.count == 7
    near_3, exact_4 = units.df_S(weights) + 1.0
    assert 2.5 < near_3 <= 3.0  # the third story has more rows
    assert exact_4 == pytest.approx(4.0)


def story_of_row(units: Units) -> NDArray[np.int64]:
    return units.clusters[np.searchsorted(units.cells, np.arange(units.rows), side="right") - 1]


@pytest.mark.parametrize("replicates", [2, 3, 5])
@pytest.mark.parametrize("regime", ["mixed", "items dominate"])
def test_intervals_cover_where_rows_share_stories_and_rows_alone_would_not(regime: str, replicates: int) -> None:
    covered = coverage_of_stories(True, REGIMES[regime], replicates, 2_000, seed=1)
    assert 93.0 <= covered <= 97.0
    assert coverage_of_stories(False, REGIMES[regime], replicates, 2_000, seed=1) < 93.0


def test_one_replicate_covers_where_rows_share_stories_and_rows_alone_would_not() -> None:
    units, where = told(100, 3, 60), tasks(300, 3)
    d, truth = simulated(
        np.random.default_rng(5), 2_000, 1, REGIMES["items dominate"], items=300, stories=story_of_row(units)
    )
    covered = []
    for given in (units, None):
        squares = mean_squares(d[0], *where, units=given)
        spread = new_items(squares)
        covered.append(float((np.abs(squares.estimate - truth[0]) <= spread.critical * spread.se).mean()))
    assert 0.93 <= covered[0] <= 0.97
    assert covered[1] < 0.85


def test_clustered_variance_is_unbiased() -> None:
    units, where = told(100, 3, 60), tasks(300, 3)
    d, truth = simulated(np.random.default_rng(7), 3_000, 3, REGIMES["mixed"], items=300, stories=story_of_row(units))
    squares = mean_squares(d[0], *where, units=units)
    estimated = (squares.replicates + squares.items - squares.rest).mean()
    assert estimated == pytest.approx(float(((squares.estimate - truth[0]) ** 2).mean()), rel=0.08)
    assert float(new_items_and_replicates(squares).item_df.mean()) < 60.0


def arms(write_result: Write, answers: Answers, replicates: int, clusters: list[int] | None) -> list[ArmResults]:
    """Two arms of 20 items in every task; rows of one number share a story, across the tasks of a suite too."""
    found = []
    for name, shift in (("one", 0.4), ("other", 0.0)):
        results = [
            load_result(write_result(answers(s + len(name), shift), clusters=clusters)) for s in range(replicates)
        ]
        found.append(ArmResults(name, tuple(results)))
    return found


def effect(of: list[ArmResults], metric: str) -> Effect:
    found = paired_effect(of[0], of[1], metric)
    assert found is not None and found.interval is not None
    return found


@pytest.mark.parametrize("replicates", [1, 2, 3])
@pytest.mark.parametrize("metric", ["minimal_pairs", "qa_congruence", "reasoning", "aggregate"])
def test_rows_of_their_own_are_judged_as_without_clusters(
    write_result: Write, random_answers: Answers, metric: str, replicates: int
) -> None:
    without = effect(arms(write_result, random_answers, replicates, None), metric)
    assert without.interval is not None
    of = arms(write_result, random_answers, replicates, None)
    renumbered = [replace(arm, replicates=tuple(renamed(result) for result in arm.replicates)) for arm in of]
    with_own = effect(renumbered, metric)
    assert with_own == without


def renamed(result: Any) -> Any:
    return replace(result, clusters=result.clusters[::-1] + 5)


def test_a_test_of_one_replicate_is_over_clusters_where_rows_share_a_story(
    write_result: Write, random_answers: Answers
) -> None:
    alone = effect(arms(write_result, random_answers, 1, None), "qa_congruence")
    shared = effect(arms(write_result, random_answers, 1, [i // 4 for i in range(20)]), "qa_congruence")
    assert (alone.test, shared.test) == ("exact McNemar", "t over clusters")
    assert shared.estimate == alone.estimate
    assert shared.interval is not None and shared.interval.df == pytest.approx(4.0)
    assert shared.p is not None and (shared.p < 0.05) == (shared.interval.low > 0.0 or shared.interval.high < 0.0)


def test_one_cluster_is_too_little_for_a_test(write_result: Write, random_answers: Answers) -> None:
    found = paired_effect(*arms(write_result, random_answers, 2, [0] * 20), "qa_congruence")
    assert found is not None
    assert found.interval is None and found.p is None and found.these_items is not None


def test_a_comparison_names_the_suites_whose_rows_share_stories(
    write_result: Write, random_answers: Answers, make_design: Callable[..., Any]
) -> None:
    def notes(clusters: list[int] | None) -> str:
        results = {arm: [write_result(random_answers(1), clusters=clusters)] for arm in ("real", "mixed")}
        return " ".join(compare(make_design([(1, 1)]), results).notes)

    told_twice = [i // 2 for i in range(20)]
    assert "entity_tracking (40 rows, 10 clusters)" in notes(told_twice)
    assert "cluster" not in notes(None)
