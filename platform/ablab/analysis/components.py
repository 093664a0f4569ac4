"""Where the spread of a difference comes from: training seeds, generation seeds, items.

Two-way analysis of variance of the differences y[t, g] of a crossed block, T training seeds x G generation seeds:

    y[t, g] = effect + train[t] + generation[g] + rest[t, g]
    E MS_train = rest + G train,  E MS_generation = rest + T generation,  E MS_rest = rest

An estimate below 0 is given as 0. Without two of each, crossed, seeds cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ablab.analysis.comparison import Components, Effect
from ablab.analysis.crossed import Array
from ablab.analysis.results import ArmResults
from ablab.analysis.weighing import difference
from ablab.spec.ablation import Replicate

Block = tuple[tuple[int, ...], tuple[int, ...]]


def crossed_block(replicates: Sequence[Replicate]) -> Block | None:
    """The largest block of training seeds, each run with each of the generation seeds; None below 2 x 2."""
    of: dict[int, set[int]] = {}
    for replicate in replicates:
        of.setdefault(replicate.train_seed, set()).add(replicate.generation_seed)
    shared = {frozenset(of[one] & of[other]) for one, other in combinations(of, 2)}
    blocks = [(tuple(t for t in of if common <= of[t]), tuple(sorted(common))) for common in shared if len(common) > 1]
    return max(blocks, key=lambda block: (len(block[0]) * len(block[1]), block), default=None)


def components(
    arm: ArmResults, against: ArmResults, effect: Effect, replicates: Sequence[Replicate]
) -> Components | None:
    """Of the effect `arm` - `against`; None where no block of its pairs is crossed. `replicates` as declared."""
    positions = {
        (replicate.train_seed, replicate.generation_seed): (one, other)
        for replicate, one, other in zip(replicates, arm.replicates, against.replicates, strict=True)
        if one is not None and other is not None
    }
    block = crossed_block([replicate for replicate in replicates if _seeds(replicate) in positions])
    if block is None:
        return None
    values_TG = np.array([[difference(*positions[t, g], effect.metric) for g in block[1]] for t in block[0]])
    train, generation, rest = two_way(values_TG)
    return Components(
        arm=effect.arm,
        against=effect.against,
        metric=effect.metric,
        unit=effect.unit,
        train_seed=train,
        generation_seed=generation,
        rest=rest,
        items=effect.item_sd,
        train_seeds=len(block[0]),
        generation_seeds=len(block[1]),
    )


def _seeds(replicate: Replicate) -> tuple[int, int]:
    return replicate.train_seed, replicate.generation_seed


def two_way(values_TG: Array) -> tuple[float, float, float]:
    """Standard deviations by rows, by columns, and of the rest."""
    rows, columns = values_TG.shape
    mean, row_means, column_means = values_TG.mean(), values_TG.mean(axis=1), values_TG.mean(axis=0)
    rest = ((values_TG - row_means[:, None] - column_means + mean) ** 2).sum() / ((rows - 1) * (columns - 1))
    by_row = (columns * row_means.var(ddof=1) - rest) / columns
    by_column = (rows * column_means.var(ddof=1) - rest) / rows
    train, generation, left = np.sqrt(np.maximum([by_row, by_column, rest], 0.0))
    return float(train), float(generation), float(left)
