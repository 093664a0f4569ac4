"""Suites without right answers, sections, and the means that mix them with others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ablab.analysis import ArmResults, Effect, load_result, paired_effect
from ablab.analysis.crossed import mean_squares, new_items_and_replicates
from ablab.analysis.weighing import weighing
from ablab.errors import InputError

Write = Callable[..., Path]
Answers = Callable[..., Any]
WUG_ONE, WUG_OTHER = (61.0, 64.0, 60.0), (58.0, 59.0, 60.0)


@pytest.fixture
def arms(write_result: Write, random_answers: Answers) -> tuple[ArmResults, ArmResults]:
    def arm(name: str, first: int, shift: float, wug: tuple[float, ...]) -> ArmResults:
        results = [
            load_result(write_result(random_answers(first + i, shift), unjudged={"wug": w, "reading": 0.5 + i / 10}))
            for i, w in enumerate(wug)
        ]
        return ArmResults(name, tuple(results))

    return arm("one", 1, 0.5, WUG_ONE), arm("other", 11, 0.0, WUG_OTHER)


def effect(arms: tuple[ArmResults, ArmResults], metric: str) -> Effect:
    found = paired_effect(*arms, metric)
    assert found is not None
    return found


def test_a_suite_without_right_answers_is_paired_by_replicate(arms: tuple[ArmResults, ArmResults]) -> None:
    found = effect(arms, "wug")
    changes = np.subtract(WUG_ONE, WUG_OTHER)
    low, high = stats.t.interval(0.95, 2, changes.mean(), stats.sem(changes))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert (found.interval.inference, found.items, found.unit) == ("new replicates", None, "points")
    assert found.p == pytest.approx(stats.ttest_1samp(changes, 0.0).pvalue)


def test_a_mixed_mean_is_the_mean_of_its_suites_differences(arms: tuple[ArmResults, ArmResults]) -> None:
    suites = ["qa_congruence", "entity_tracking", "wug"]
    assert effect(arms, "reasoning").estimate == pytest.approx(np.mean([effect(arms, s).estimate for s in suites]))
    every = [*suites, "minimal_pairs", "reading"]
    assert effect(arms, "aggregate").estimate == pytest.approx(np.mean([effect(arms, s).estimate for s in every]))


def test_a_mixed_interval_holds_the_replicates_own_and_names_what_it_speaks_of(
    arms: tuple[ArmResults, ArmResults],
) -> None:
    found = effect(arms, "reasoning")
    assert found.interval is not None
    assert found.these_items is not None
    assert found.interval.inference == "new replicates and some items"
    assert found.interval.se >= found.these_items.se
    values = [[np.mean([r.scores[s].score for s in r.groups()["reasoning"]]) for r in a.replicates if r] for a in arms]
    assert found.these_items.se == pytest.approx(stats.sem(np.array(values[0]) - np.array(values[1])))


@pytest.mark.parametrize("metric", ["wug", "reading", "reasoning", "aggregate"])
def test_one_replicate_leaves_no_interval_where_answers_are_not_right_or_wrong(
    arms: tuple[ArmResults, ArmResults], metric: str
) -> None:
    single = tuple(ArmResults(arm.arm, arm.replicates[:1]) for arm in arms)
    found = effect((single[0], single[1]), metric)
    assert (found.interval, found.p, found.test, found.detectable) == (None, None, None, None)


def test_a_suite_of_one_metric_and_its_group_are_one_number(arms: tuple[ArmResults, ArmResults]) -> None:
    group, suite = effect(arms, "human-likeness"), effect(arms, "reading")
    assert (group.estimate, group.interval, group.p) == (suite.estimate, suite.interval, suite.p)


def test_items_that_weigh_differently_are_tested_by_t_not_by_mcnemar(
    write_result: Write, random_answers: Answers
) -> None:
    pair = [ArmResults(n, (load_result(write_result(random_answers(s))),)) for n, s in (("one", 1), ("other", 2))]
    alike, differently = effect((pair[0], pair[1]), "entity_tracking"), effect((pair[0], pair[1]), "aggregate")
    assert (alike.test, differently.test) == ("exact McNemar", "t over items")
    assert differently.interval is not None
    t = differently.estimate / differently.interval.se
    assert differently.p == pytest.approx(2 * stats.t.sf(abs(t), differently.interval.df))


def test_tasks_weigh_by_their_section(write_result: Write) -> None:
    right, wrong = np.array([True, True]), np.array([False, False])
    answers = {"entity_tracking": {"a0": right, "a1": wrong, "a2": wrong, "b0": right}}
    sections = {"entity_tracking": {"a": ["a0", "a1", "a2"], "b": ["b0"]}}
    result = load_result(write_result(answers, sections=sections))
    assert result.scores["entity_tracking"].score == pytest.approx(100 * (1 / 3 + 1) / 2)
    assert list(weighing(result, "entity_tracking").weights) == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_sections_that_do_not_hold_every_task_once_are_refused(write_result: Write) -> None:
    right = np.array([True, True])
    answers = {"entity_tracking": {"a0": right, "a1": right}}
    with pytest.raises(InputError, match="its sections hold"):
        load_result(write_result(answers, sections={"entity_tracking": {"a": ["a0", "a1"], "b": ["a1"]}}))
    with pytest.raises(InputError, match="its sections hold"):
        load_result(write_result(answers, sections={"entity_tracking": {"a": ["a0"]}}))


def test_accuracy_of_items_that_are_neither_right_nor_wrong_is_refused(
    write_result: Write, random_answers: Answers
) -> None:
    directory = write_result(random_answers(1), unjudged={"wug": 60.0})
    result = json.loads((directory / "result.json").read_text())
    del result["suites"]["wug"]["metric"]
    (directory / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match="neither right nor wrong"):
        load_result(directory)


@pytest.mark.parametrize("replicates", [2, 3, 5])
@pytest.mark.parametrize("noise", [0.0, 2.0, 8.0])
def test_a_mixed_interval_covers_the_truth(replicates: int, noise: float) -> None:
    """Half of the metric is items with a reaction of their own, half one number per replicate with `noise` points."""
    rng = np.random.default_rng(replicates)
    studies, items = 1_500, 60
    reaction = rng.normal(2.0, 30.0, (studies, 1, items))
    d = reaction + rng.normal(0.0, 5.0, (studies, replicates, 1)) + rng.normal(0.0, 40.0, (studies, replicates, items))
    beside = 0.5 * rng.normal(4.0, noise, (studies, replicates))
    squares = mean_squares(d, np.array([0]), np.array([0.5]), beside)
    spread = new_items_and_replicates(squares)
    covered = np.abs(squares.estimate - 3.0) <= spread.critical * spread.se
    assert 0.935 <= covered.mean() <= 0.995
