"""How often 95 % intervals hold the truth where no answer is right or wrong: rank correlations and increments of R^2.

Every study draws new items and new seeds for two arms, scores every model as an evaluation does, and compares them by
pseudo-values (`ablab.evaluate.jackknife`). The truth is the mean estimate of all studies: what is to be covered is the
expected difference of scores of this many items. The part of `experiments.benchmarks.coverage` that makes models, which
takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.crossed import Spread, mean_squares, new_items_and_replicates, new_replicates
from ablab.analysis.units import units_of
from ablab.evaluate.jackknife import pseudo_values
from ablab.evaluate.metrics import R2_INCREMENT, SPEARMAN

Array = NDArray[np.float64]
Docs = list[dict[str, Any]]

WORDS = 100  # nonce words of a study
SENTENCES = 40  # read in a study
REGIMES: Mapping[str, tuple[float, float, float]] = {
    "seeds dominate": (0.4, 0.2, 0.6),
    "mixed": (0.15, 0.6, 0.6),
    "items dominate": (0.0, 1.0, 0.2),
    "noise only": (0.0, 0.0, 1.0),
}
"""Standard deviations of seeds, of items' reaction to an arm, of every answer, in units of what people do."""
ARMS = (1.0, 0.7)
"""How much of what people do a model follows."""


def wug_docs(ratios: Sequence[float] | Array) -> Docs:
    return [{"id": str(i), "ratio": float(ratio)} for i, ratio in enumerate(ratios)]


def reading_docs(rng: np.random.Generator, sizes: NDArray[np.int64]) -> Docs:
    """Words of sentences of these sizes; times follow the predictors, the sentence, and what people expected."""
    sentence = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    expected = rng.normal(0.0, 1.0, len(sentence)) + 0.5 * rng.normal(0.0, 1.0, len(sizes))[sentence]
    frequency, length = rng.normal(9.0, 2.0, len(sentence)), rng.integers(2, 12, len(sentence)).astype(np.float64)
    times = 200.0 + 4.0 * length - 3.0 * frequency + place + 20.0 * rng.normal(0.0, 1.0, len(sizes))[sentence]
    times = times + 12.0 * expected + rng.normal(0.0, 30.0, len(sentence))
    return [
        {
            "id": f"{number}",
            "cluster": f"sentence {sentence[number]}",
            "expected": float(expected[number]),
            "predictors": {"frequency": frequency[number], "length": length[number], "place": float(place[number])},
            "times": {"time": float(times[number])},
        }
        for number in range(len(sentence))
    ]


def _wug(rng: np.random.Generator) -> tuple[Docs, Array]:
    human = rng.normal(0.0, 1.0, WORDS)
    return wug_docs(human), human


def _reading(rng: np.random.Generator) -> tuple[Docs, Array]:
    docs = reading_docs(rng, rng.integers(4, 13, SENTENCES))
    return docs, np.array([doc["expected"] for doc in docs])


SUITES: Mapping[str, tuple[str, Callable[[np.random.Generator], tuple[Docs, Array]]]] = {
    "wug": (SPEARMAN, _wug),
    "reading": (R2_INCREMENT, _reading),
}


def score_coverage(suite: str, regime: str, replicates: int, studies: int, seed: int) -> dict[str, float]:
    """Coverage in % of intervals for new items and replicates, and of those for these items."""
    rng = np.random.default_rng([seed, replicates, len(suite)])
    estimates, spreads = [], []
    for _ in range(studies):
        estimate, both = _study(rng, suite, REGIMES[regime], replicates)
        estimates.append(estimate)
        spreads.append(both)
    off = np.abs(np.array(estimates) - np.mean(estimates))
    halves = np.array([[float(spread.critical * spread.se) for spread in both] for both in spreads])
    held = 100.0 * (off[:, None] <= halves).mean(axis=0)
    return {"coverage": float(held[0]), "these items": float(held[1])}


def _study(
    rng: np.random.Generator, suite: str, sds: tuple[float, float, float], replicates: int
) -> tuple[float, tuple[Spread, Spread]]:
    seeds, reaction, noise = sds
    metric, draw = SUITES[suite]
    docs, human = draw(rng)
    values = []
    for follows in ARMS:
        reacted = follows * human + rng.normal(0.0, reaction, len(docs))
        for _ in range(replicates):
            said = reacted + rng.normal(0.0, seeds) * human + rng.normal(0.0, noise, len(docs))
            found = pseudo_values(
                metric, docs, [(float(one), 0.0) if suite == "wug" else (-float(one),) for one in said]
            )
            if found is None:
                raise ValueError(f"{len(docs)} items of {suite} are too few")
            values.append(found)
    one, other = np.array(values).reshape(2, replicates, len(docs))
    names = [doc.get("cluster", doc["id"]) for doc in docs]
    where = np.array([0])
    squares = mean_squares(
        one - other, where, np.ones(1), units=units_of(np.unique(names, return_inverse=True)[1], where)
    )
    return float(squares.estimate), (new_items_and_replicates(squares), new_replicates(squares))
