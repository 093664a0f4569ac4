"""From a pilot: how many replicates an effect needs, and which metrics can show anything.

With n replicates the variance of a difference is s^2 / n + i^2: s is the standard deviation of one replicate's
difference, i that of the choice of items, which no replicate makes smaller. An effect is found with 80 % power when it
is `detectable_multiple` standard errors away. s of a pilot is itself uncertain, so the number is given for s and for
the bound that the true s exceeds with 20 % (chi-square).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablab.analysis.comparison import Comparison, Effect
from ablab.analysis.report.material import TaskEffect
from ablab.analysis.students import (
    LEVEL,
    detectable_multiple,
    effective_df,
    mixed_quantile,
    variance_bound,
)
from ablab.errors import InputError

MOST_REPLICATES = 1_000
UNLIMITED = 10**9


@dataclass(frozen=True)
class Pilot:
    """The spread of a difference as a pilot shows it, in the effect's unit."""

    replicate_sd: float
    df: int
    """Of `replicate_sd`."""
    item_sd: float
    item_df: float

    def detectable(self, replicates: int) -> float:
        """Smallest true difference that is found with 80 % power."""
        by_replicate, by_item = self.replicate_sd**2 / replicates, self.item_sd**2
        variance = by_replicate + by_item
        if variance == 0.0:
            return 0.0
        df = float(replicates - 1)
        critical = float(mixed_quantile(by_replicate / variance, df, self.item_df, 1.0 - LEVEL))
        found = effective_df(critical, min(df, self.item_df), max(df, self.item_df))
        return math.sqrt(variance) * detectable_multiple(found)

    def needed(self, effect: float) -> int | None:
        """Fewest replicates that find `effect`; None where even 1,000 do not."""
        low, high = 2, MOST_REPLICATES
        if self.detectable(high) > effect:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.detectable(middle) <= effect else (middle + 1, high)
        return low

    def pessimistic(self) -> Pilot:
        """With the replicates' spread that the true one exceeds with 20 %."""
        return Pilot(self.replicate_sd * math.sqrt(variance_bound(self.df)), self.df, self.item_sd, self.item_df)


@dataclass(frozen=True)
class Power:
    """What a pair of arms can show in one metric."""

    arm: str
    against: str
    metric: str
    unit: str
    estimate: float
    effect: float
    """That is asked for."""
    replicates: int
    """Of the pilot."""
    replicate_sd: float
    item_sd: float
    detectable: float
    """With as many replicates as the pilot has."""
    limit: float
    """With any number of replicates: what the items alone leave."""
    needed: int | None
    """Replicates; None where no number up to 1,000 is enough."""
    needed_at_most: int | None
    """The same, should the pilot's spread be too small by chance (80 %)."""


def power_of(effect: Effect, asked: float) -> Power | None:
    """What more replicates of an effect's pilot would show; None with fewer than two, or where nothing varies."""
    if effect.replicate_sd is None or effect.replicate_sd == 0.0:
        return None
    pilot = Pilot(effect.replicate_sd, effect.replicates - 1, effect.item_sd or 0.0, effect.item_df or 1.0)
    return _power(effect, pilot, asked)


def _power(effect: Effect, pilot: Pilot, asked: float) -> Power:
    return Power(
        arm=effect.arm,
        against=effect.against,
        metric=effect.metric,
        unit=effect.unit,
        estimate=effect.estimate,
        effect=asked,
        replicates=effect.replicates,
        replicate_sd=pilot.replicate_sd,
        item_sd=pilot.item_sd,
        detectable=pilot.detectable(effect.replicates),
        limit=pilot.detectable(UNLIMITED) if pilot.item_sd > 0.0 else 0.0,
        needed=pilot.needed(asked),
        needed_at_most=pilot.pessimistic().needed(asked),
    )


def claim_powers(comparison: Comparison, asked: float) -> dict[str, Power]:
    """Of every claim, by its id. Raises `InputError` where the pilot has fewer than two replicates."""
    effects = {claim.id: claim.effect for claim in comparison.claims if claim.effect is not None}
    _check(comparison.effects)
    found = {id_: power_of(effect, asked) for id_, effect in effects.items()}
    return {id_: power for id_, power in found.items() if power is not None}


def metric_powers(comparison: Comparison, asked: float) -> list[Power]:
    """Of every metric: an arm like these against the control, the arms' spreads pooled.

    Pooled as a root mean square. Arms share their control, so their spreads are not independent, and the degrees of
    freedom are left at those of one arm.
    """
    _check(comparison.effects)
    mine = [effect for effect in comparison.effects if effect.against == comparison.control]
    pooled = (_pooled([e for e in mine if e.metric == metric.name], asked) for metric in comparison.metrics)
    return [power for power in pooled if power is not None]


def task_powers(tasks: Sequence[TaskEffect], asked: float) -> list[tuple[str, Power]]:
    """The same of every task, with its suite; tasks in which nothing varied between replicates are left out."""
    found = []
    for suite, name in dict.fromkeys((one.suite, one.effect.metric) for one in tasks):
        power = _pooled([one.effect for one in tasks if (one.suite, one.effect.metric) == (suite, name)], asked)
        if power is not None:
            found.append((suite, power))
    return found


def _pooled(effects: Sequence[Effect], asked: float) -> Power | None:
    known = [effect for effect in effects if effect.replicate_sd]
    if not known:
        return None
    fewest = min(known, key=lambda effect: effect.replicates)
    sd, item_sd = _rms(e.replicate_sd or 0.0 for e in known), _rms(e.item_sd or 0.0 for e in known)
    return _power(fewest, Pilot(sd, fewest.replicates - 1, item_sd, fewest.item_df or 1.0), asked)


def _rms(values: Iterable[float]) -> float:
    squares = [value**2 for value in values]
    return math.sqrt(sum(squares) / len(squares))


def _check(effects: Sequence[Effect]) -> None:
    if not any(effect.replicate_sd for effect in effects):
        raise InputError(
            "a pilot needs at least two finished replicates of an arm and what it is compared with, and some "
            "difference between them; run more of them"
        )
