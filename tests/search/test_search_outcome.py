"""The best of trials, the front of several objectives, and when a trial is clearly worse."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ablab.search import Objective
from ablab.search.outcome import TrialRow, best_of, dominates
from ablab.search.pruning import clearly_worse

BOTH = ("minimize", "maximize")


def row(number: int, values: tuple[float, ...] | None, **more: Any) -> TrialRow:
    fields: dict[str, Any] = {
        "number": number,
        "state": "complete" if values else "pruned",
        "edits": {},
        "values": values,
        "replicates": (values,) if values else (),
        "identity": f"i{number}",
        "seconds": 1.0,
        "computed": 1,
    }
    return TrialRow(**(fields | more))


def test_the_best_trial_is_complete_and_the_earliest_of_equals() -> None:
    rows = [row(0, (2.0,)), row(1, (1.0,)), row(2, (1.0,)), row(3, None, replicates=((0.1,),))]
    assert [one.number for one in best_of(rows, ("minimize",))] == [1]
    assert [one.number for one in best_of(rows, ("maximize",))] == [0]
    assert best_of(rows[3:], ("minimize",)) == ()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_holds_exactly_the_trials_that_none_dominates(points: list[tuple[int, int]]) -> None:
    rows = [row(number, (float(a), float(b))) for number, (a, b) in enumerate(points)]
    front = {one.number for one in best_of(rows, BOTH)}
    for one in rows:
        assert (one.number in front) == (not any(dominates(other.values, one.values, BOTH) for other in rows))


def test_copies_of_one_computation_are_one_point_of_the_front() -> None:
    rows = [row(0, (1.0, 1.0), identity="same"), row(1, (1.0, 1.0), identity="same", duplicate_of=0)]
    assert [one.number for one in best_of(rows, BOTH)] == [0]


def test_clearly_worse_compares_the_same_replicates_and_never_a_partial_mean() -> None:
    best = row(0, (55.0,), replicates=((50.0,), (60.0,)))
    accuracy = Objective(metric="reasoning", direction="maximize")
    assert clearly_worse(accuracy, [49.5], best, margin=1.0) == ""  # 5.5 below the mean over both replicates
    assert "1.5 points worse than trial 0" in clearly_worse(accuracy, [48.5], best, margin=1.0)
    assert clearly_worse(accuracy, [48.5, 61.0], best, margin=1.0) == ""


def test_perplexity_is_worse_by_shares_and_upwards() -> None:
    best = row(0, (200.0,), replicates=((200.0,), (200.0,)))
    perplexity = Objective(metric="perplexity", direction="minimize")
    assert clearly_worse(perplexity, [208.0], best, margin=5.0) == ""
    assert "6 % worse" in clearly_worse(perplexity, [212.0], best, margin=5.0)
    assert "123 % worse" in clearly_worse(perplexity, [446.2], best, margin=5.0)
    assert clearly_worse(perplexity, [100.0], best, margin=5.0) == ""
