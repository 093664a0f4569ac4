"""When a trial is clearly worse than the best one: on the replicates that it has run, or at a checkpoint of one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ablab.search.halves import is_loss
from ablab.search.outcome import TrialRow
from ablab.search.spec import Behind, Objective

LARGEST_NATS = 700.0  # its exponential is still a number; a diverging training may lose more


def clearly_worse(objective: Objective, values: Sequence[float], best: TrialRow, margin: float) -> str:
    """Why, in words; empty where it is not.

    values: of the trial, by replicate, from the first. They are compared with the best trial's on the same replicates,
    never with its mean over all of them: replicates differ among each other.
    """
    own = statistics.fmean(values)
    other = statistics.fmean(one[0] for one in best.replicates[: len(values)])
    unit = "%" if is_loss(objective.metric) else "points"
    change = 100.0 * (own - other) / other if is_loss(objective.metric) else own - other
    worse = change if objective.direction == "minimize" else -change
    if worse <= margin:
        return ""
    return (
        f"{objective.metric} {own:.4g} is {_digits(worse)} {unit} worse than trial {best.number} "
        f"on the same replicates (margin {margin:g})"
    )


def behind(position: int, step: int, value: float, best: TrialRow, pruner: Behind) -> str:
    """Why, in words; empty where it is not, or where the best trial has no value at this step of this replicate.

    value: validation loss in nats, or the score of the pruner's suites in %.
    """
    other = best.checkpoints.get(position, {}).get(step)
    if other is None:
        return ""
    worse = 100.0 * (_exp(value - other) - 1.0) if pruner.is_loss else other - value  # of perplexities, or points
    if worse <= pruner.margin:
        return ""
    if pruner.is_loss:
        found = f"validation perplexity {_exp(value):.4g} is {_digits(worse)} % worse than"
    else:
        found = f"{pruner.metric} {value:.4g} is {_digits(worse)} points below"
    return f"{found} that of trial {best.number} at this step (margin {pruner.margin:g})"


def _exp(nats: float) -> float:
    return math.exp(min(nats, LARGEST_NATS))


def _digits(worse: float) -> str:
    return f"{worse:.2g}" if worse < 99.5 else f"{worse:.0f}"  # 120, not 1.2e+02
