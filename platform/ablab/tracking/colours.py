"""Colours of arms on MLflow's pages.

A run is drawn in the colour that a tag gives it. A group of runs, the mean of an arm, takes its colour from MLflow's
palette by a hash of the group's id (mode, key and value), and nothing stored can set it: the names of arms decide, and
two may meet in one red. The key is ours: of several names for the tag that holds the arm, the one is used whose colours
are furthest apart. With another palette or hash the groups only lose that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

COLOUR_TAG = "mlflow.runColor"
KEYS = 40
PALETTE = (
    *("#a6630c", "#c83243", "#b45091", "#8a63bf", "#434a93", "#137dae", "#04867d", "#308613", "#facb66", "#1f272d"),
    *("#445461", "#5f7281", "#8396a5", "#93320b", "#be501e", "#de7921", "#f2be88", "#115026", "#277c43", "#3ba65e"),
    *("#8ddda8", "#9e102c", "#c82d4c", "#e65b77", "#f792a6", "#0e538b", "#2272b4", "#4299e0", "#8acaff"),
)
"""Of MLflow 3.17."""


def group_key(tag: str, arms: Sequence[str]) -> str:
    """A tag to group runs by: the given name, with a number behind it where that tells the arms better apart."""
    keys = [tag, *(f"{tag}.{number}" for number in range(2, KEYS))]
    return max(keys, key=lambda key: _apart([group_colour(group_id(key, arm)) for arm in arms]))


def group_id(tag: str, value: str) -> str:
    """What MLflow's page calls the group of runs that have that value."""
    return f"tag.{tag}.{value}"


def group_colour(identifier: str) -> str:
    """The colour of a group on MLflow's pages."""
    low = high = 0
    for character in identifier:
        low = (low + ord(character)) % 255
        high = (high + low) % 255
    return PALETTE[(low | high << 8) % len(PALETTE)]


def _apart(colours: Sequence[str]) -> float:
    """Distance of the two colours that are most alike, seen with and without a difference of red and green."""
    return min((_distance(one, other) for one, other in combinations(colours, 2)), default=0.0)


def _distance(one: str, other: str) -> float:
    red, green, blue = (int(one[i : i + 2], 16) - int(other[i : i + 2], 16) for i in (1, 3, 5))
    mixed = (red + green) / 2
    return float(min(red**2 + green**2 + blue**2, 2 * mixed**2 + blue**2))
