"""The study's own procedure beside ours: its bootstrap, its aggregate, and the cautions about both."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ablab.analysis import ArmResults, Comparison, compare, load_result, paired_effect, render, write_files
from ablab.analysis.study import STUDY_SUITES, bootstrap, relative_change
from ablab.spec import Design

Write = Callable[..., Path]
Answers = Callable[..., Any]


def arm(name: str, results: list[Any]) -> ArmResults:
    return ArmResults(name, tuple(results))


def with_scores(result: Any, scores: dict[str, float]) -> Any:
    """A result whose suites are these, each with a score and no right answers."""
    one = replace(result.scores["minimal_pairs"], metric="spearman")
    found = {name: replace(one, score=score) for name, score in scores.items()}
    return replace(result, scores=found, without_items=frozenset(found))


@pytest.fixture
def result(write_result: Write, random_answers: Answers) -> Any:
    return load_result(write_result(random_answers(1)))


def test_the_bootstrap_is_that_of_items_drawn_again_within_tasks() -> None:
    rng = np.random.default_rng(0)
    change = rng.choice([-1.0, 0.0, 1.0], 90, p=[0.2, 0.5, 0.3])
    starts, weights = np.array([0, 60]), np.array([0.5, 0.5])
    drawn = [
        0.5 * change[rng.integers(0, 60, 60)].mean() + 0.5 * change[rng.integers(60, 90, 30)].mean()
        for _ in range(20_000)
    ]
    assert bootstrap([change], starts, weights) == pytest.approx(
        tuple(100 * np.quantile(drawn, (0.025, 0.975))), abs=1.5
    )


def test_bounds_are_averaged_over_runs_and_do_not_narrow_with_more_of_them() -> None:
    change = np.array([1.0, 0.0, -1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    where = (np.array([0]), np.array([1.0]))
    once = bootstrap([change], *where)
    often = bootstrap([change] * 6, *where)
    assert often == pytest.approx(once, abs=5.0)
    assert once == bootstrap([change], *where)


def test_effects_carry_the_studys_interval_where_answers_are_right_or_wrong(
    write_result: Write, random_answers: Answers
) -> None:
    def results(first: int, shift: float) -> list[Any]:
        return [load_result(write_result(random_answers(first + i, shift), unjudged={"wug": 50.0 + i})) for i in (0, 1)]

    one, other = arm("one", results(1, 0.5)), arm("other", results(5, 0.0))
    judged, mixed, perplexity = (paired_effect(one, other, m) for m in ("linguistic", "reasoning", "perplexity"))
    assert judged is not None
    assert judged.study_low is not None
    assert judged.study_high is not None
    assert judged.study_low < judged.estimate < judged.study_high
    assert mixed is not None
    assert mixed.study_low is None
    assert perplexity is not None
    assert perplexity.study_low is None


def test_the_mean_over_the_studys_seven_suites_is_its_aggregate(result: Any) -> None:
    before = dict.fromkeys(STUDY_SUITES, 50.0) | {"wug_past_tense": 10.0}
    after = dict.fromkeys(STUDY_SUITES, 51.0) | {"blimp": 57.0, "wug_past_tense": 90.0}
    found = relative_change(
        arm("a", [with_scores(result, after)]), arm("b", [with_scores(result, before)]), list(after), set(after)
    )
    assert found is not None
    assert (found.name, found.missing) == ("μΔREL", ())
    assert found.mean == pytest.approx((14.0 + 6 * 2.0) / 7)
    assert found.points == pytest.approx((7.0 + 6 * 1.0) / 7)


def test_an_incomplete_mean_has_another_name_and_says_what_it_lacks(result: Any) -> None:
    scores = {name: 50.0 for name in STUDY_SUITES if name != "ewok"}
    found = relative_change(
        arm("a", [with_scores(result, scores)]), arm("b", [with_scores(result, scores)]), list(scores), set(scores)
    )
    assert found is not None
    assert (found.name, found.missing, len(found.terms)) == ("mean relative change", ("ewok",), 6)


def test_suites_that_only_share_the_studys_names_are_not_the_studys(result: Any) -> None:
    scores = dict.fromkeys(STUDY_SUITES, 50.0)
    one = arm("a", [with_scores(result, scores)])
    found = relative_change(one, one, list(scores), set())
    assert found is not None
    assert (found.name, found.missing) == ("mean relative change", STUDY_SUITES)


def test_a_baseline_within_two_standard_errors_of_zero_is_marked(result: Any) -> None:
    def results(*scores: float) -> list[Any]:
        return [with_scores(result, {"eye_tracking": s, "blimp": 60.0 + s}) for s in scores]

    found = relative_change(
        arm("a", results(0.3, 0.4, 0.2)), arm("b", results(0.1, -0.1, 0.03)), [], {"blimp", "eye_tracking"}
    )
    assert found is not None
    assert {term.metric: term.unstable for term in found.terms} == {"blimp": False, "eye_tracking": True}


def test_a_baseline_of_zero_leaves_no_mean(result: Any) -> None:
    one, other = (arm(n, [with_scores(result, {"blimp": 50.0, "ewok": s})]) for n, s in (("a", 1.0), ("b", 0.0)))
    found = relative_change(one, other, ["blimp", "ewok"], {"blimp", "ewok"})
    assert found is not None
    assert (found.mean, found.points) == (None, 0.5)


def test_the_table_never_calls_an_incomplete_mean_by_the_studys_name(
    make_design: Callable[..., Design], write_result: Write, random_answers: Answers, tmp_path: Path
) -> None:
    results = {name: [write_result(random_answers(s, s / 9))] for s, name in enumerate(("real", "mixed", "masked"))}
    found = compare(make_design([(1, 1)]), results)
    assert [one.name for one in found.relative] == ["mean relative change"] * 2
    assert "relative" not in printed(found)
    missing = replace(found, relative=tuple(replace(one, missing=("ewok",)) for one in found.relative))
    assert "Mean relative change against real over" in printed(missing)
    assert "This is not the study's μΔREL, which also holds ewok." in printed(missing)
    relative = write_files(found, tmp_path)[3].read_text(encoding="utf-8").splitlines()
    assert len(relative) == 1 + 2 * (3 + 1)


def printed(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=100)
    render(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
