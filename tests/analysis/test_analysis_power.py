"""From a pilot to a number of replicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ablab.analysis import ArmResults, compare, load_result
from ablab.analysis.power import Pilot, claim_powers, metric_powers, task_powers
from ablab.analysis.report.tasks import task_effects
from ablab.analysis.results import ReplicateResult
from ablab.analysis.students import mixed_quantile
from ablab.errors import InputError
from ablab.spec import Claim, Design

Write = Callable[..., Path]
Answers = Callable[..., Any]


@pytest.mark.parametrize("replicates", [3, 6, 12])
def test_a_detectable_effect_is_found_in_four_of_five_studies(replicates: int) -> None:
    effect = Pilot(replicate_sd=2.0, df=3, item_sd=0.0, item_df=1.0).detectable(replicates)
    studies = np.random.default_rng(replicates).normal(effect, 2.0, (20_000, replicates))
    found = np.mean(np.asarray(stats.ttest_1samp(studies, 0.0, axis=1).pvalue) < 0.05)
    assert found == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("replicates", [2, 3, 5, 10])
@pytest.mark.parametrize("item", [0.0, 0.3, 0.7, 0.95])
def test_with_items_too_it_is_found_about_as_often(replicates: int, item: float) -> None:
    """By integration over the replicates' spread; `item` is the items' share of the variance of the mean."""
    pilot = Pilot(np.sqrt((1.0 - item) * replicates), 3, np.sqrt(item), 1e6)
    spread = (1.0 - item) * stats.chi2.ppf((np.arange(2_000) + 0.5) / 2_000, replicates - 1) / (replicates - 1)
    share, se = spread / (spread + item), np.sqrt(spread + item)
    half, effect = mixed_quantile(share, replicates - 1, 1e6, 0.05) * se, pilot.detectable(replicates)
    assert 0.75 <= np.mean(stats.norm.sf(half - effect) + stats.norm.cdf(-half - effect)) <= 0.83


def test_needed_is_the_fewest_that_detect_the_effect() -> None:
    pilot = Pilot(replicate_sd=2.0, df=4, item_sd=0.3, item_df=400.0)
    needed = pilot.needed(1.5)
    assert needed is not None
    assert pilot.detectable(needed) <= 1.5 < pilot.detectable(needed - 1)


def test_no_number_of_replicates_finds_what_the_items_hide() -> None:
    pilot = Pilot(replicate_sd=0.5, df=4, item_sd=1.0, item_df=400.0)
    assert pilot.detectable(10**9) == pytest.approx(2.8, abs=0.02)  # (1.96 + 0.84) standard errors
    assert pilot.needed(2.5) is None
    assert pilot.needed(3.5) is not None


def test_the_pessimistic_spread_is_below_the_true_one_in_a_fifth_of_pilots() -> None:
    pilots = np.random.default_rng(0).normal(0.0, 2.0, (20_000, 3)).std(axis=1, ddof=1)
    factor = Pilot(1.0, 2, 0.0, 1.0).pessimistic().replicate_sd
    assert np.mean(pilots * factor < 2.0) == pytest.approx(0.2, abs=0.01)


def test_claims_and_metrics_of_a_comparison(
    make_design: Callable[..., Design], make_claim: Callable[..., Claim], write_result: Write, random_answers: Answers
) -> None:
    results = {
        name: [write_result(random_answers(9 * a + i), perplexity=20.0 + i * a) for i in range(3)]
        for a, name in enumerate(("real", "mixed", "masked"))
    }
    seeds = [(1, 1), (2, 2), (3, 3)]
    found = compare(make_design(seeds, [make_claim(), make_claim(id="ppl", metric="perplexity")]), results)
    claims = claim_powers(found, 4.0)
    assert list(claims) == ["helps", "ppl"]
    effect = found.claims[0].effect
    assert effect is not None
    assert claims["helps"].replicate_sd == effect.replicate_sd
    assert claims["ppl"].limit == 0.0
    metrics = metric_powers(found, 4.0)
    assert [one.metric for one in metrics] == [metric.name for metric in found.metrics]
    both = [found.effect(arm, "real", "aggregate") for arm in ("mixed", "masked")]
    pooled = np.sqrt(np.mean([(e.replicate_sd or 0.0) ** 2 for e in both if e]))
    assert next(one for one in metrics if one.metric == "aggregate").replicate_sd == pytest.approx(pooled)


def test_one_replicate_is_no_pilot(
    make_design: Callable[..., Design], make_claim: Callable[..., Claim], write_result: Write, random_answers: Answers
) -> None:
    results = {name: [write_result(random_answers(s))] for s, name in enumerate(("real", "mixed"))}
    found = compare(make_design([(1, 1)], [make_claim()]), results)
    with pytest.raises(InputError, match="at least two finished replicates"):
        claim_powers(found, 1.0)
    with pytest.raises(InputError, match="at least two finished replicates"):
        metric_powers(found, 1.0)


def test_a_task_that_is_called_like_a_suite_without_values_is_compared_by_its_items(
    write_result: Write, random_answers: Answers
) -> None:
    def result(seed: int) -> ReplicateResult:
        return replace(load_result(write_result(random_answers(seed, items=60))), without_items=frozenset({"order"}))

    arms = [ArmResults(name, (result(2 * a), result(2 * a + 1))) for a, name in enumerate(("real", "mixed"))]
    found = {one.effect.metric: one.effect for one in task_effects(arms, [[0], [1]])}
    assert found["order"].items == found["agreement"].items == 60


def test_a_task_can_show_what_its_items_let_any_number_of_replicates_find(
    write_result: Write, random_answers: Answers
) -> None:
    arms = [
        ArmResults(name, tuple(load_result(write_result(random_answers(9 * a + i, items=60))) for i in range(3)))
        for a, name in enumerate(("real", "mixed", "masked"))
    ]
    rows = [[0], [1], [2]]
    found = {(suite, power.metric): power for suite, power in task_powers(task_effects(arms, rows), 12.0)}
    assert set(found) <= {("minimal_pairs", t) for t in ("agreement", "order")} | {
        ("entity_tracking", t) for t in ("zero", "one")
    }
    assert found
    for power in found.values():
        assert power.replicates == 3
        assert (power.needed is None) == (power.limit > 12.0)
