"""Verdicts follow from the interval and the margin alone; Holm's family is all declared claims."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ablab.analysis.claims import judge, verdict
from ablab.analysis.comparison import Effect, Interval
from ablab.analysis.students import t_p_value, t_quantile
from ablab.spec import Claim

MakeClaim = Callable[..., Claim]


def effect(estimate: float, half: float, arm: str = "mixed", unit: str = "points", replicates: int = 3) -> Effect:
    df = 12.0
    se = half / float(t_quantile(df, 0.975))
    interval = Interval(estimate - half, estimate + half, se, df, "new items and replicates")
    p = t_p_value(estimate / se, df)
    return Effect(arm, "real", "reasoning", unit, estimate, interval, None, p, "t", 1.4 * half, 80, replicates)


@pytest.mark.parametrize(
    ("direction", "margin", "low", "high", "expected"),
    [
        ("greater", 0.0, 0.1, 5.0, "supported"),
        ("greater", 0.0, -5.0, -0.1, "contradicted"),
        ("greater", 0.0, -0.1, 5.0, "inconclusive"),
        ("greater", 1.0, 0.5, 5.0, "inconclusive"),
        ("greater", 1.0, 1.5, 5.0, "supported"),
        ("greater", 1.0, -0.5, 0.9, "contradicted"),
        ("less", 0.0, -5.0, -0.1, "supported"),
        ("less", 0.0, 0.1, 5.0, "contradicted"),
        ("less", 1.0, -5.0, -0.5, "inconclusive"),
        ("less", 1.0, -5.0, -1.5, "supported"),
        ("less", 1.0, -0.9, 0.5, "contradicted"),
        ("different", 0.0, 0.1, 5.0, "supported"),
        ("different", 0.0, -5.0, -0.1, "supported"),
        ("different", 0.0, -1.0, 1.0, "inconclusive"),
        ("different", 2.0, 1.0, 5.0, "inconclusive"),
        ("different", 2.0, -1.0, 1.9, "contradicted"),
    ],
)
def test_supported_when_the_whole_interval_is_as_claimed_contradicted_when_none_of_it_is(
    make_claim: MakeClaim, direction: str, margin: float, low: float, high: float, expected: str
) -> None:
    claim = make_claim(direction=direction, margin=margin)
    assert verdict(claim, effect((low + high) / 2, (high - low) / 2)) == expected


def test_words_are_understood_at_once(make_claim: MakeClaim) -> None:
    found = judge([make_claim()], [effect(1.9, 8.0)], 3)[0]
    assert found.words == ("inconclusive: +1.9 points, 95 % interval [-6.1, 9.9]; this run could have detected 11.2")
    perplexity = make_claim(direction="less", margin=0.5)
    assert judge([perplexity], [effect(-3.0, 1.0, unit="%")], 3)[0].words == (
        "supported: -3.0%, 95 % interval [-4.0, -2.0]; claimed: below -0.5%"
    )


def test_a_claim_without_results_is_not_run_and_still_counts_in_holms_family(make_claim: MakeClaim) -> None:
    claims = [make_claim(), make_claim(id="masked", arm="masked")]
    run, not_run = judge(claims, [effect(2.0, 1.9)], 3)
    assert (not_run.verdict, not_run.p, not_run.p_holm, not_run.effect) == ("not run", None, None, None)
    assert "masked and real have no results" in not_run.words
    assert run.p is not None
    assert run.p_holm == pytest.approx(2 * run.p)


def test_a_verdict_that_holm_does_not_uphold_says_so(make_claim: MakeClaim) -> None:
    claims = [make_claim(), *(make_claim(id=f"other-{i}", arm=f"other-{i}") for i in range(3))]
    found = judge(claims, [effect(2.0, 1.9)], 3)[0]
    assert found.verdict == "supported"
    assert "not after Holm's correction" in found.words


def test_p_is_against_the_margin(make_claim: MakeClaim) -> None:
    found = judge([make_claim(margin=1.0)], [effect(3.0, 2.0)], 3)[0]
    assert found.p == pytest.approx(0.05)  # the interval ends exactly at the margin
    inside = judge([make_claim(direction="different", margin=4.0)], [effect(3.0, 2.0)], 3)[0]
    assert inside.p == 1.0


def test_missing_replicates_are_told(make_claim: MakeClaim) -> None:
    assert "from 2 of 3 replicates" in judge([make_claim()], [effect(1.0, 2.0, replicates=2)], 3)[0].words


@pytest.mark.parametrize("interval", [None, Interval(0.0, 0.0, 0.0, 5.0, "new items and replicates")])
def test_without_a_spread_nothing_is_concluded(make_claim: MakeClaim, interval: Interval | None) -> None:
    estimate = 4.0 if interval is None else 0.0
    flat = Effect("mixed", "real", "reasoning", "points", estimate, interval, None, None, None, None, 8, 2)
    found = judge([make_claim(margin=1.0)], [flat], 2)[0]
    assert found.verdict == "inconclusive"
    assert "spread" in found.words
