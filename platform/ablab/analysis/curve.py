"""Suites at checkpoints of a training, as stored by a `curve` stage: scores step by step, and the items behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.results import clustered, numbered, read_json, read_table, task_starts
from ablab.errors import InputError

COLUMNS = ("step", "item", "suite", "task", "correct")


@dataclass(frozen=True)
class CurveSuite:
    """One suite over the steps; scores and chance in %."""

    group: str
    chance: float | None
    scores: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class CurveResult:
    """S steps, I items ordered by suite, task, cluster and id."""

    directory: Path
    steps: tuple[int, ...]
    suites: Mapping[str, CurveSuite]
    items: NDArray[np.str_]
    of_suite: NDArray[np.str_]
    tasks: NDArray[np.str_]
    clusters: NDArray[np.int64]
    """Equal numbers share a story, as in `ReplicateResult`."""
    correct: NDArray[np.bool_]
    """[S, I]; False where no answer is right or wrong."""
    unjudged: frozenset[str]
    """Suites without right answers."""

    def judged(self, suite: str) -> bool:
        """True where answers are right or wrong."""
        return suite not in self.unjudged

    def means(self, step: int, suite: str) -> dict[str, float]:
        """Percent correct by task at the step of that index."""
        columns = np.flatnonzero(self.of_suite == suite)
        starts = task_starts(self.of_suite[columns], self.tasks[columns])
        sizes = np.diff(np.append(starts, len(columns)))
        sums = np.add.reduceat(self.correct[step, columns].astype(np.float64), starts)
        names = self.tasks[columns][starts].tolist()
        return dict(zip(names, (100.0 * sums / sizes).tolist(), strict=True))


def load_curve(directory: Path) -> CurveResult:
    """Read `result.json` and `items.parquet`. Raises `InputError` where a file is missing or they do not fit."""
    result = read_json(directory / "result.json")
    try:
        steps = tuple(int(step) for step in result["steps"])
        suites = {
            name: CurveSuite(str(one["group"]), one["chance"], tuple(map(float, one["scores"])))
            for name, one in result["suites"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{directory / 'result.json'} is no learning curve ({error!r}); compute it again") from error
    order = ("step", "suite", "task", "cluster", "item")
    table = clustered(read_table(directory / "items.parquet", COLUMNS, optional=("cluster",)))
    table = table.sort_by([(name, "ascending") for name in order])
    columns: dict[str, NDArray[Any]] = {
        name: np.asarray(table[name].to_pylist(), dtype=np.str_) for name in ("item", "suite", "task")
    }
    columns["cluster"] = numbered(table["cluster"])
    count = len(table) // max(len(steps), 1)
    found = np.asarray(table["step"].to_pylist(), dtype=np.int64)
    whole = np.array_equal(found, np.repeat(np.sort(np.asarray(steps, np.int64)), count))
    same = whole and all(np.array_equal(c, np.tile(c[:count], len(steps))) for c in columns.values())
    lengths = all(len(suite.scores) == len(steps) for suite in suites.values())
    if not steps or not suites or not same or not lengths or list(steps) != sorted(steps):
        raise InputError(f"{directory}: not every step has a score and the same items; compute the curve again")
    answers = table["correct"].combine_chunks()
    correct = np.asarray(answers.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
    unjudged = frozenset(columns["suite"][answers.is_null().to_numpy(zero_copy_only=False)].tolist())
    first = {name: column[:count] for name, column in columns.items()}
    return CurveResult(
        directory=directory,
        steps=steps,
        suites=suites,
        items=first["item"],
        of_suite=first["suite"],
        tasks=first["task"],
        clusters=first["cluster"],
        correct=correct.reshape(len(steps), count),
        unjudged=unjudged,
    )
