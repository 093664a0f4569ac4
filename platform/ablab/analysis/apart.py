"""How far the distributions of arms are apart, as it was measured before any of their corpora was sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from ablab.spec.manipulation import ROLE, distribution, distributions
from ablab.store import Store
from ablab.store.executions import Roles

Place = tuple[str, int]
"""The key of a check, and the number of a distribution in it."""


@dataclass(frozen=True)
class Apart:
    """Two distributions, by the arms that draw from them; means over the replicates in which both were measured."""

    arms: tuple[str, ...]
    others: tuple[str, ...]
    total_variation: float
    """From 0 to 1, mean over positions of real text."""
    kl_nats: tuple[float | None, float | None]
    """From the first to the second and back; None where the one gives words that the other never gives."""

    def to_json(self) -> dict[str, Any]:
        return vars(self)


def arms_apart(arms: Sequence[str], roles: Roles, store: Store) -> tuple[Apart, ...]:
    """For every two distributions that some arms draw from; none where nothing was to be measured."""
    drawing: dict[tuple[Place | None, ...], list[str]] = {}
    for arm in arms:
        places = tuple(_place(one, store) for one in roles.get(arm, ()))
        if any(places):
            drawing.setdefault(places, []).append(arm)
    found = []
    for (one, names), (other, others) in combinations(drawing.items(), 2):
        both = zip(one, other, strict=False)
        pairs = [_pair(*here, there[1], store) for here, there in both if here and there and here[0] == there[0]]
        if pairs:
            variation = fmean(pair[0] for pair in pairs)
            divergences = (_mean([pair[1] for pair in pairs]), _mean([pair[2] for pair in pairs]))
            found.append(Apart(tuple(names), tuple(others), variation, divergences))
    return tuple(found)


def _place(one: Mapping[str, tuple[str, str]], store: Store) -> Place | None:
    """Where the distribution of an arm and replicate was measured, if it was."""
    if not all(role in one and store.has(*one[role]) for role in (ROLE, "generate")):
        return None
    measured = distributions(store.identity(*one[ROLE]))
    return one[ROLE][1], measured.index(distribution(store.identity(*one["generate"])))


def _pair(key: str, one: int, other: int, store: Store) -> tuple[float, float | None, float | None]:
    """Total variation, and the divergences from one to the other and back."""
    if one == other:
        return 0.0, 0.0, 0.0
    pair = next(pair for pair in store.result(ROLE, key)["pairs"] if set(pair["of"]) == {one, other})
    there, back = pair["kl_nats"] if pair["of"] == [one, other] else reversed(pair["kl_nats"])
    return pair["total_variation"], there, back


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None]
    return fmean(finite) if len(finite) == len(values) else None
