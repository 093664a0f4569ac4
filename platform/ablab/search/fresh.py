"""The winner's curse, shown: winners and base are run again on fresh replicates and judged by final data.

Of many trials the best one is partly the luckiest. Its searched value is too good for two reasons, and each is taken
away: its replicates (fresh seeds), and the data that it was selected on (final items and the test split).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from ablab.analysis.paired import paired_effect
from ablab.analysis.results import ArmResults, ReplicateResult
from ablab.search.halves import Half, load_half, value
from ablab.search.outcome import Judged, Outcome, TrialRow, Winner, dominates
from ablab.search.prepare import BASE, PreparedStudy, design_of
from ablab.search.trial import Bench, Evaluation
from ablab.spec.ablation import Arm
from ablab.spec.edit import edit


def judge_fresh(prepared: PreparedStudy, bench: Bench, found: Outcome, best: Sequence[TrialRow]) -> Outcome:
    """The outcome with its winners and the base judged. What is in the store is not computed again."""
    design = prepared.design
    arms = tuple(Arm(name=f"trial-{row.number}", edits=dict(row.edits)) for row in best)
    recipes = {BASE: prepared.base} | {arm.name: edit(prepared.base, arm.edits) for arm in arms}
    numbers = ", ".join(str(row.number) for row in best)
    bench.view.note(f"fresh replicates of trial {numbers} and of the base")
    with bench.recorded("fresh", design_of(BASE, design.recipe, design.fresh, arms), recipes) as one:
        one.run()
        final = {arm: _half(one, arm, "final") for arm in recipes}
        again = {arm: _half(one, arm, "selection") for arm in recipes}
    base = tuple(_judged(metric, None, again[BASE], final[BASE], None) for metric in design.metrics)
    winners = []
    for row, arm in zip(best, arms, strict=True):
        values = row.values or ()
        judged = tuple(
            _judged(metric, searched, again[arm.name], final[arm.name], final[BASE])
            for metric, searched in zip(design.metrics, values, strict=True)
        )
        winners.append(Winner(row.number, row.edits, judged))
    return replace(found, base=base, winners=_with_dominance(winners, design.directions))


def _half(one: Evaluation, arm: str, half: Half) -> ArmResults:
    count = len(one.design.replicates)
    return ArmResults(arm, tuple(load_half(one.result(arm, position), half) for position in range(count)))


def _judged(
    metric: str, searched: float | None, again: ArmResults, final: ArmResults, base: ArmResults | None
) -> Judged:
    values = [value(result, metric) for result in _present(final)]
    low, high = t_interval(values)
    effect = paired_effect(final, base, metric) if base is not None else None
    interval = effect.interval if effect is not None else None
    return Judged(
        metric=metric,
        searched=searched,
        reselected=statistics.fmean(value(result, metric) for result in _present(again)),
        fresh=tuple(values),
        low=low,
        high=high,
        change=effect.estimate if effect is not None else None,
        change_low=interval.low if interval is not None else None,
        change_high=interval.high if interval is not None else None,
    )


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % for the mean of new replicates; of two values or more."""
    from scipy.stats import t

    mean, count = statistics.fmean(values), len(values)
    half = float(t.ppf(0.975, count - 1)) * statistics.stdev(values) / count**0.5
    return mean - half, mean + half


def _present(results: ArmResults) -> list[ReplicateResult]:
    return [result for result in results.replicates if result is not None]


def _with_dominance(winners: Sequence[Winner], directions: Sequence[str]) -> tuple[Winner, ...]:
    """A front on selection data need not be one on final data."""
    values = {winner.number: [one.value for one in winner.judged] for winner in winners}
    return tuple(
        replace(
            winner,
            dominated_by=tuple(
                number for number, other in values.items() if dominates(other, values[winner.number], directions)
            ),
        )
        for winner in winners
    )
