"""How often 95 % intervals hold the truth, by simulation: `python -m experiments.benchmarks.coverage --json FILE`.

Probit studies of two arms on tasks of items: a model of seed r answers item i rightly when
ability + difficulty[i] + reaction[arm, i] + seed[arm, r] + noise[arm, r, i] > 0. Every study draws new items and new
seeds; the truth is the difference of the arms' expected accuracy. Regimes differ in what dominates. Where rows share
stories, difficulty, reaction and half of the noise are the story's. Where no answer is right or wrong, models are
scored as evaluations are (`experiments.benchmarks.coverage_scores`). All of it takes some six minutes of one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.crossed import MeanSquares, mean_squares, new_items_and_replicates, new_replicates
from ablab.analysis.students import mixed_quantile, t_quantile, two_sided
from ablab.analysis.units import Units, units_of
from experiments.benchmarks.coverage_scores import SUITES, score_coverage

Array = NDArray[np.float64]
Bounds = Callable[[Array, MeanSquares], Array]
"""Half lengths [study] of the intervals of d [study, R, I]."""

REGIMES: Mapping[str, tuple[float, float, float]] = {
    "seeds dominate": (0.3, 0.1, 0.6),
    "mixed": (0.08, 0.5, 0.6),
    "items dominate": (0.0, 1.0, 0.2),
    "noise only": (0.0, 0.0, 0.6),
}
"""Standard deviations on the probit scale: of seeds, of items' reaction to an arm, of every answer."""
REPLICATES = (2, 3, 5, 10)
STUDIES_AT_ONCE = 250
BOOTSTRAPS = 400
FAMILY = 8  # claims, each of an arm of its own against one control
ABILITIES = (0.7, 0.4)
BESIDE = (0.5, 2.0, 8.0)  # points by which a suite without values of items varies from replicate to replicate


def simulated(
    rng: np.random.Generator,
    studies: int,
    replicates: int,
    sds: tuple[float, float, float],
    items: int = 180,
    abilities: Sequence[float] = ABILITIES,
    stories: NDArray[np.int64] | None = None,
) -> tuple[Array, Array]:
    """Differences d [arm, study, R, I] of every arm but the last from the last, and their truths [arm].

    stories: the number of the story of every item; None: items have nothing in common.
    """
    from scipy.stats import norm

    seeds, reaction, noise = sds
    story = np.arange(items) if stories is None else stories
    count = int(story.max()) + 1
    shared, own = (0.0, noise) if stories is None else (noise / np.sqrt(2.0), noise / np.sqrt(2.0))
    difficulty = rng.normal(0.0, 1.0, (studies, 1, count))[..., story]
    correct = []
    for ability in abilities:
        score = ability + difficulty + rng.normal(0.0, reaction, (studies, 1, count))[..., story]
        score = score + rng.normal(0.0, seeds, (studies, replicates, 1))
        if shared:
            score = score + rng.normal(0.0, shared, (studies, replicates, count))[..., story]
        correct.append(score + rng.normal(0.0, own, (studies, replicates, items)) > 0.0)
    expected = norm.cdf(np.asarray(abilities) / np.sqrt(1.0 + seeds**2 + reaction**2 + noise**2))
    d = np.stack([one.astype(np.float64) - correct[-1] for one in correct[:-1]])
    return d, np.asarray(expected[:-1] - expected[-1])


def tasks(items: int, number: int) -> tuple[NDArray[np.int64], Array]:
    """First columns and weights of tasks of equal size."""
    return np.arange(number) * (items // number), np.full(number, 1.0 / number)


def told(rows: int, number: int, stories: int) -> Units:
    """Tasks of so many rows, which ask of the same stories: some once, some never, some several times."""
    rng = np.random.default_rng(0)
    drawn = [np.sort(rng.integers(0, stories, rows)) for _ in range(number)]
    return units_of(np.concatenate(drawn).astype(np.int64), tasks(rows * number, number)[0])


def chosen(_d: Array, squares: MeanSquares) -> Array:
    spread = new_items_and_replicates(squares)
    half: Array = spread.critical * spread.se
    return half


def _parts(squares: MeanSquares) -> tuple[Array, Array, Array]:
    """Variance of replicates, of items, and their sum."""
    item_part = np.maximum(squares.items - squares.rest, 0.0)
    return squares.replicates, item_part, squares.replicates + item_part


def cochran(_d: Array, squares: MeanSquares) -> Array:
    replicates, item_part, variance = _parts(squares)
    t_r, t_i = t_quantile(squares.replicate_df, two_sided()), t_quantile(squares.item_df, two_sided())
    half: Array = (replicates * t_r + item_part * t_i) / np.sqrt(np.maximum(variance, 1e-30))
    return half


def cochran_floor(d: Array, squares: MeanSquares) -> Array:
    """Never shorter than the items alone have it."""
    alone = np.sqrt(np.maximum(squares.items, squares.rest))
    half: Array = np.maximum(cochran(d, squares), alone * t_quantile(squares.item_df, two_sided()))
    return half


def satterthwaite(_d: Array, squares: MeanSquares) -> Array:
    replicates, item_part, variance = _parts(squares)
    below = replicates**2 / squares.replicate_df + (squares.items**2 + squares.rest**2) / squares.item_df
    df = np.maximum((replicates + item_part) ** 2 / np.maximum(below, 1e-30), 1.0)
    half: Array = t_quantile(df, two_sided()) * np.sqrt(variance)
    return half


def t_of_replicates(_d: Array, squares: MeanSquares) -> Array:
    half: Array = t_quantile(squares.replicate_df, two_sided()) * np.sqrt(_parts(squares)[2])
    return half


def replicates_only(_d: Array, squares: MeanSquares) -> Array:
    spread = new_replicates(squares)
    half: Array = spread.critical * spread.se
    return half


def bootstrap(d: Array, _squares: MeanSquares) -> Array:
    """Crossed: replicates and items drawn again, items once for all replicates; half of the percentile interval."""
    rng = np.random.default_rng(0)
    _, replicates, items = d.shape
    half = np.empty(len(d))
    for index, study in enumerate(d):
        by_replicate = rng.multinomial(replicates, np.full(replicates, 1 / replicates), BOOTSTRAPS) / replicates
        by_item = rng.multinomial(items, np.full(items, 1 / items), BOOTSTRAPS) / items
        estimates = ((by_replicate @ study) * by_item).sum(axis=1)
        low, high = np.quantile(estimates, (0.025, 0.975))
        half[index] = (high - low) / 2
    return half


def bootstrap_corrected(d: Array, squares: MeanSquares) -> Array:
    """Widened by sqrt(R / (R - 1)) and by t(R - 1) / z."""
    replicates = d.shape[-2]
    wider = np.sqrt(replicates / (replicates - 1)) * t_quantile(squares.replicate_df, two_sided()) / 1.959964
    return bootstrap(d, squares) * float(wider)


METHODS: Mapping[str, Bounds] = {
    "chosen": chosen,
    "Cochran": cochran,
    "Cochran, floor of the items": cochran_floor,
    "Satterthwaite": satterthwaite,
    "t(R - 1)": t_of_replicates,
    "replicates only": replicates_only,
}
BOOTSTRAP_METHODS: Mapping[str, Bounds] = {
    "crossed bootstrap": bootstrap,
    "crossed bootstrap, corrected": bootstrap_corrected,
}
BOOTSTRAP_STUDIES = 500  # at most: they take a hundred times as long
SCORED_SHARE = {"wug": 0.25, "reading": 0.1}  # of the studies: every model of theirs is scored
MORE_STUDIES = 4  # times as many for the other methods' coverage, which is quick


def coverage(
    methods: Mapping[str, Bounds], sds: tuple[float, float, float], replicates: int, studies: int, seed: int
) -> dict[str, dict[str, float]]:
    """Coverage in % and mean half length in points by method: 3 tasks x 100 items."""
    rng = np.random.default_rng([seed, replicates])
    where = tasks(300, 3)
    held: dict[str, list[Array]] = {name: [] for name in methods}
    halves: dict[str, list[Array]] = {name: [] for name in methods}
    for count in _chunks(studies):
        d, truth = simulated(rng, count, replicates, sds, items=300)
        squares = mean_squares(d[0], *where)
        for name, method in methods.items():
            half = method(d[0], squares)
            held[name].append((np.abs(squares.estimate - truth[0]) <= half).astype(np.float64))
            halves[name].append(half)
    return {
        name: {
            "coverage": 100.0 * float(np.concatenate(held[name]).mean()),
            "half_length": 100.0 * float(np.concatenate(halves[name]).mean()),
        }
        for name in methods
    }


def coverage_beside(noise: float, sds: tuple[float, float, float], replicates: int, studies: int, seed: int) -> float:
    """Coverage in % for a mean of one suite of items and one without values of items, half and half.

    The latter's difference is 2 points, and varies by `noise` points (standard deviation) from replicate to replicate.
    """
    rng = np.random.default_rng([seed, replicates, 2])
    starts, weights = tasks(300, 3)
    held = []
    for count in _chunks(studies):
        d, truth = simulated(rng, count, replicates, sds, items=300)
        beside = 0.5 * rng.normal(2.0, noise, (count, replicates))
        squares = mean_squares(100.0 * d[0], starts, 0.5 * weights, beside)
        half = chosen(d[0], squares)
        held.append(np.abs(squares.estimate - (50.0 * truth[0] + 1.0)) <= half)
    return 100.0 * float(np.concatenate(held).mean())


def coverage_of_stories(
    clustered: bool, sds: tuple[float, float, float], replicates: int, studies: int, seed: int
) -> float:
    """Coverage in % where 3 tasks x 100 rows tell 60 stories, with and without clusters."""
    rng = np.random.default_rng([seed, replicates, 3])
    starts, weights = tasks(300, 3)
    units = told(100, 3, 60)
    story = units.clusters[np.searchsorted(units.cells, np.arange(300), side="right") - 1]
    held = []
    for count in _chunks(studies):
        d, truth = simulated(rng, count, replicates, sds, items=300, stories=story)
        squares = mean_squares(d[0], starts, weights, units=units if clustered else None)
        half = chosen(d[0], squares)
        held.append(np.abs(squares.estimate - truth[0]) <= half)
    return 100.0 * float(np.concatenate(held).mean())


def false_positives(sds: tuple[float, float, float], replicates: int, studies: int, seed: int) -> dict[str, float]:
    """% of studies in which a true null is rejected: one claim at 5 %, one at 0.5 %, any of a family after Holm."""
    rng = np.random.default_rng([seed, replicates, 1])
    where = tasks(300, 3)
    statistics: list[Array] = []
    shares: list[Array] = []
    item_dfs: list[Array] = []
    for count in _chunks(studies):
        d, _ = simulated(rng, count, replicates, sds, items=300, abilities=[0.5] * (FAMILY + 1))
        squares = mean_squares(d, *where)
        spread = new_items_and_replicates(squares)
        statistics.append(np.abs(squares.estimate) / spread.se)
        shares.append(spread.share)
        item_dfs.append(spread.item_df)
    statistic, share, item_df = (np.concatenate(parts, axis=1) for parts in (statistics, shares, item_dfs))

    def rejected(alpha: float) -> Any:
        return statistic > mixed_quantile(share, replicates - 1, item_df, alpha)

    # Holm rejects something exactly where the smallest p is below alpha / family
    return {
        "at 5 %": 100.0 * float(rejected(0.05).mean()),
        "at 0.5 %": 100.0 * float(rejected(0.005).mean()),
        f"any of {FAMILY} after Holm": 100.0 * float(rejected(0.05 / FAMILY).any(axis=0).mean()),
    }


def _chunks(studies: int) -> Iterator[int]:
    for start in range(0, studies, STUDIES_AT_ONCE):
        yield min(STUDIES_AT_ONCE, studies - start)


def measure(studies: int, seed: int) -> dict[str, Any]:
    """Every regime, number of replicates and method."""
    intervals = [
        {"regime": regime, "replicates": replicates, "method": method, **values}
        for regime, sds in REGIMES.items()
        for replicates in REPLICATES
        for methods, number in ((METHODS, MORE_STUDIES * studies), (BOOTSTRAP_METHODS, min(studies, BOOTSTRAP_STUDIES)))
        for method, values in coverage(methods, sds, replicates, number, seed).items()
    ]
    errors = [
        {"regime": regime, "replicates": replicates, **false_positives(sds, replicates, studies, seed)}
        for regime, sds in REGIMES.items()
        for replicates in REPLICATES
    ]
    beside = [
        {"regime": regime, "replicates": r, "noise": noise, "coverage": coverage_beside(noise, sds, r, studies, seed)}
        for regime, sds in REGIMES.items()
        for r in REPLICATES
        for noise in BESIDE
    ]
    stories = [
        {"regime": name, "replicates": r, "clustered": by, "coverage": coverage_of_stories(by, sds, r, studies, seed)}
        for name, sds in REGIMES.items()
        for r in REPLICATES
        for by in (True, False)
    ]
    scores = [
        {
            "regime": name,
            "replicates": r,
            "suite": suite,
            **score_coverage(suite, name, r, _scored(studies, suite), seed),
        }
        for name in REGIMES
        for r in REPLICATES
        for suite in SUITES
    ]
    settings = {
        "studies": studies,
        "interval_studies": MORE_STUDIES * studies,
        "bootstrap_studies": min(studies, BOOTSTRAP_STUDIES),
        "scored_studies": {suite: _scored(studies, suite) for suite in SUITES},
        "seed": seed,
    }
    found = {"intervals": intervals, "beside": beside, "stories": stories, "scores": scores, "false_positives": errors}
    return settings | found


def _scored(studies: int, suite: str) -> int:
    return max(1, round(SCORED_SHARE[suite] * studies))


def tables(result: Mapping[str, Any]) -> str:
    """Markdown: coverage by method and regime, then false positives; R = 2 / 3 / 5 / 10."""
    methods = {method: _cells(result["intervals"], method=method) for method in (*METHODS, *BOOTSTRAP_METHODS)}
    beside = {f"{noise:g} points": _cells(result["beside"], noise=noise) for noise in BESIDE}
    labels = {True: "clustered", False: "rows as if independent"}
    stories = {label: _cells(result["stories"], clustered=by) for by, label in labels.items()}
    scores = {
        f"{suite}, {label}": _cells(result["scores"], value, suite=suite)
        for suite in SUITES
        for value, label in (("coverage", "new items"), ("these items", "as if for these items"))
    }
    names = [name for name in result["false_positives"][0] if name not in ("regime", "replicates")]
    errors = {name: _cells(result["false_positives"], name) for name in names}
    return "\n\n".join(
        [
            _table("method", methods),
            _table("half without values of items, sd", beside),
            _table("60 stories", stories),
            _table("pseudo-values", scores),
            _table("false positives in %", errors),
        ]
    )


def _cells(found: Sequence[Mapping[str, Any]], value: str = "coverage", **which: Any) -> list[str]:
    """Of every regime the value of those entries that have `which`, by number of replicates."""
    chosen = [entry for entry in found if all(entry[name] == wanted for name, wanted in which.items())]
    of = {(entry["regime"], entry["replicates"]): entry[value] for entry in chosen}
    return [" / ".join(f"{of[regime, r]:.1f}" for r in REPLICATES) for regime in REGIMES]


def _table(head: str, rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"| {head} | " + " | ".join(REGIMES) + " |", "|---" * (len(REGIMES) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--studies",
        type=int,
        default=2_000,
        help="simulated studies of every cell (default 2,000; of intervals four times as many)",
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = measure(arguments.studies, arguments.seed)
    print(tables(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
