"""Paired effects by hand, and the laws every comparison of two arms obeys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from ablab.analysis import ArmResults, Effect, load_result, paired_effect
from ablab.errors import InputError

Write = Callable[..., Path]
Answers = Callable[..., Any]
METRICS = ["minimal_pairs", "qa_congruence", "linguistic", "reasoning"]


def arm(name: str, *directories: Path | None) -> ArmResults:
    return ArmResults(name, tuple(None if d is None else load_result(d) for d in directories))


def effect(one: ArmResults, other: ArmResults, metric: str) -> Effect:
    found = paired_effect(one, other, metric)
    assert found is not None
    return found


def test_a_group_is_the_mean_over_suites_of_the_mean_over_tasks(write_result: Write) -> None:
    yes, no = np.array([True, True]), np.array([False, False])
    # Tasks of entity_tracking change by 100, 0 and 0; those of qa_congruence by 50. Half of 100/3 + half of 50.
    before = {"qa_congruence": {"who": no}, "entity_tracking": {"zero": no, "one": no, "two": no}}
    after = {
        "qa_congruence": {"who": np.array([True, False])},
        "entity_tracking": {"zero": yes, "one": no, "two": no},
    }
    one, other = arm("after", write_result(after)), arm("before", write_result(before))
    assert effect(one, other, "entity_tracking").estimate == pytest.approx(100 / 3)
    assert effect(one, other, "reasoning").estimate == pytest.approx(0.5 * 100 / 3 + 0.5 * 50)


def test_the_estimate_is_the_difference_of_the_stored_scores(write_result: Write, random_answers: Answers) -> None:
    one = arm("one", *(write_result(random_answers(s, 0.4)) for s in (1, 2, 3)))
    other = arm("other", *(write_result(random_answers(s)) for s in (4, 5, 6)))
    scores = [np.mean([r.scores["minimal_pairs"].score for r in a.replicates if r]) for a in (one, other)]
    assert effect(one, other, "minimal_pairs").estimate == pytest.approx(scores[0] - scores[1])


def test_one_replicate_speaks_of_new_items_only_and_tests_by_mcnemar(write_result: Write) -> None:
    before = {"qa_congruence": {"who": np.array([True] * 3 + [False] * 9)}}
    after = {"qa_congruence": {"who": np.array([False] * 1 + [True] * 11)}}
    found = effect(arm("after", write_result(after)), arm("before", write_result(before)), "qa_congruence")
    d = 100.0 * np.array([-1] + [0] * 2 + [1] * 9)
    half = stats.t.ppf(0.975, 11) * d.std(ddof=1) / np.sqrt(12)
    assert found.interval is not None
    assert found.interval.inference == "new items"
    assert (found.interval.low, found.interval.high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert found.p == pytest.approx(stats.binomtest(1, 10).pvalue)
    assert found.test == "exact McNemar"
    assert found.these_items is None


def test_these_items_are_a_one_sample_t_interval_over_replicates(write_result: Write, random_answers: Answers) -> None:
    one = [write_result(random_answers(s, 0.4)) for s in (1, 2, 3)]
    other = [write_result(random_answers(s)) for s in (4, 5, 6)]
    found = effect(arm("one", *one), arm("other", *other), "qa_congruence").these_items
    by_replicate = [
        load_result(a).scores["qa_congruence"].score - load_result(b).scores["qa_congruence"].score
        for a, b in zip(one, other, strict=True)
    ]
    low, high = stats.t.interval(0.95, 2, np.mean(by_replicate), stats.sem(by_replicate))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


def test_perplexity_is_relative_to_the_other_arm_and_paired_by_replicate(
    write_result: Write, random_answers: Answers
) -> None:
    one = arm("one", *(write_result(random_answers(1), perplexity=p) for p in (11.0, 24.0, 36.0)))
    other = arm("other", *(write_result(random_answers(1), perplexity=p) for p in (10.0, 20.0, 30.0)))
    found = effect(one, other, "perplexity")
    changes = [10.0, 20.0, 20.0]
    low, high = stats.t.interval(0.95, 2, np.mean(changes), stats.sem(changes))
    assert (found.unit, found.items) == ("%", None)
    assert found.estimate == pytest.approx(50 / 3)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(stats.ttest_1samp(changes, 0.0).pvalue)


def test_perplexity_of_one_replicate_has_no_interval(write_result: Write, random_answers: Answers) -> None:
    one = arm("one", write_result(random_answers(1), perplexity=11.0), None)
    other = arm("other", write_result(random_answers(1), perplexity=10.0), write_result(random_answers(2)))
    found = effect(one, other, "perplexity")
    assert (found.interval, found.p, found.detectable, found.replicates) == (None, None, None, 1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("replicates", [1, 2, 3])
def test_an_interval_excludes_zero_exactly_when_its_t_does(
    write_result: Write, random_answers: Answers, metric: str, replicates: int
) -> None:
    one = arm("one", *(write_result(random_answers(s, 0.5)) for s in range(replicates)))
    other = arm("other", *(write_result(random_answers(10 + s)) for s in range(replicates)))
    found = effect(one, other, metric)
    assert found.interval is not None
    assert found.p is not None
    p = 2 * stats.t.sf(abs(found.estimate) / found.interval.se, found.interval.df)
    excluded = found.interval.low > 0.0 or found.interval.high < 0.0
    assert (p < 0.05) == excluded
    if replicates > 1:
        assert (found.p < 0.05) == excluded


@pytest.mark.parametrize("replicates", [2, 5])
def test_a_t_test_finds_the_detectable_effect_in_four_of_five_studies(
    write_result: Write, random_answers: Answers, replicates: int
) -> None:
    one = arm("one", *(write_result(random_answers(1), perplexity=20.0 + s) for s in range(replicates)))
    other = arm("other", *(write_result(random_answers(1), perplexity=20.0) for _ in range(replicates)))
    found = effect(one, other, "perplexity")
    assert found.interval is not None
    assert found.detectable is not None
    spread = found.interval.se * np.sqrt(replicates)
    studies = np.random.default_rng(0).normal(found.detectable, spread, (20_000, replicates))
    found_in = np.mean(np.asarray(stats.ttest_1samp(studies, 0.0, axis=1).pvalue) < 0.05)
    assert found_in == pytest.approx(0.8, abs=0.01)


def test_averaged_positions_count_as_one_replicate(write_result: Write, random_answers: Answers) -> None:
    one = arm("one", *(write_result(random_answers(s, 0.4)) for s in range(4)))
    other = arm("other", *(write_result(random_answers(10 + s // 2)) for s in range(4)))
    found = paired_effect(one, other, "reasoning", rows=[[0, 1], [2, 3]])
    assert found is not None
    assert found.replicates == 2
    assert found.these_items is not None
    assert found.these_items.df == 1.0
    assert found.estimate == pytest.approx(effect(one, other, "reasoning").estimate)


def test_items_that_all_change_alike_give_no_spread_and_so_no_interval(write_result: Write) -> None:
    right, wrong = {"qa_congruence": {"who": np.full(6, True)}}, {"qa_congruence": {"who": np.full(6, False)}}
    one = arm("one", write_result(right), write_result(right))
    other = arm("other", write_result(wrong), write_result(wrong))
    found = effect(one, other, "qa_congruence")
    assert (found.estimate, found.interval, found.p, found.detectable) == (100.0, None, None, None)


def test_tasks_of_a_single_item_cannot_speak_of_new_items(write_result: Write) -> None:
    answers = [{"qa_congruence": {"who": np.array([a]), "what": np.array([b])}} for a, b in ((1, 0), (1, 1), (0, 0))]
    one = arm("one", write_result(answers[0]), write_result(answers[1]))
    other = arm("other", write_result(answers[2]), write_result(answers[2]))
    found = effect(one, other, "qa_congruence")
    assert found.interval is None
    assert found.these_items is not None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1_000), replicates=st.integers(1, 3), metric=st.sampled_from(METRICS))
def test_swapping_the_arms_flips_sign_and_interval(
    write_result: Write, random_answers: Answers, seed: int, replicates: int, metric: str
) -> None:
    one = arm("one", *(write_result(random_answers(seed + s, 0.3)) for s in range(replicates)))
    other = arm("other", *(write_result(random_answers(seed + 50 + s)) for s in range(replicates)))
    there, back = effect(one, other, metric), effect(other, one, metric)
    assert back.estimate == -there.estimate
    assert (back.p, back.detectable) == (there.p, there.detectable)
    for a, b in ((there.interval, back.interval), (there.these_items, back.these_items)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (b.low, b.high, b.se, b.df) == (-a.high, -a.low, a.se, a.df)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1_000), order=st.permutations([0, 1, 2]), metric=st.sampled_from([*METRICS, "perplexity"]))
def test_the_order_of_replicates_does_not_matter(
    write_result: Write, random_answers: Answers, seed: int, order: list[int], metric: str
) -> None:
    ones = [write_result(random_answers(seed + s, 0.3), perplexity=10.0 + s) for s in range(3)]
    others = [write_result(random_answers(seed + 50 + s), perplexity=10.0 + s * s) for s in range(3)]
    there = effect(arm("one", *ones), arm("other", *others), metric)
    again = effect(arm("one", *(ones[i] for i in order)), arm("other", *(others[i] for i in order)), metric)
    assert again.estimate == pytest.approx(there.estimate, abs=1e-9)
    assert there.interval is not None
    assert again.interval is not None
    assert (again.interval.low, again.interval.high) == pytest.approx((there.interval.low, there.interval.high))


@pytest.mark.parametrize("replicates", [1, 2])
@pytest.mark.parametrize("metric", [*METRICS, "perplexity"])
def test_identical_arms_differ_by_exactly_zero(
    write_result: Write, random_answers: Answers, metric: str, replicates: int
) -> None:
    directories = [write_result(random_answers(s), perplexity=17.3 + s) for s in range(replicates)]
    found = effect(arm("one", *directories), arm("other", *directories), metric)
    assert found.estimate == 0.0
    if found.interval is not None:
        assert (found.interval.low, found.interval.high, found.p) == (0.0, 0.0, 1.0)


def test_no_common_replicate_is_no_effect(write_result: Write, random_answers: Answers) -> None:
    directory = write_result(random_answers(1))
    assert paired_effect(arm("one", directory, None), arm("other", None, directory), "reasoning") is None


def test_what_cannot_be_paired_is_refused(write_result: Write, random_answers: Answers) -> None:
    one, other = write_result(random_answers(1)), write_result(random_answers(1, items=7))
    with pytest.raises(InputError, match="different items"):
        paired_effect(arm("one", one), arm("other", other), "reasoning")
    with pytest.raises(InputError, match="did you mean 'reasoning'"):
        paired_effect(arm("one", one), arm("other", one), "reasonin")
    with pytest.raises(InputError, match="2 replicate positions, other 1"):
        paired_effect(arm("one", one, one), arm("other", one), "reasoning")
