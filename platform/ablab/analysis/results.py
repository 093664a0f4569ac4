"""Stored results as the analysis reads them: one evaluate (or floor) directory is one `ReplicateResult`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ablab.errors import InputError

SCORE_TOLERANCE = 0.01  # points by which a stored score may differ from its stored items
IDENTITY_PARAMS = ("precision", "test_tokens")
IDENTITY_INPUTS = ("suite", "tokenizer", "tokens")
ACCURACY = "accuracy"
Selection = Literal["held-out", "oracle"]
"""How the checkpoint was chosen: by held-out text or beforehand, or by the scores themselves."""


@dataclass(frozen=True)
class SuiteScore:
    """One suite as the harness scored it; scores and chance in %."""

    score: float
    group: str
    chance: float | None
    tasks: Mapping[str, float]
    metric: str = ACCURACY
    """'accuracy', or what else makes a score of the items (spearman, r2-increment)."""
    sections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Tasks by section where the score is the mean over sections; empty where it is the mean over tasks."""

    def task_weights(self) -> dict[str, float]:
        """What each task weighs in the score: tasks alike within a section, sections alike. They sum to 1."""
        sections = self.sections or {"": tuple(self.tasks)}
        weights = dict.fromkeys(self.tasks, 0.0)
        for tasks in sections.values():
            for task in tasks:
                weights[task] += 1.0 / (len(sections) * len(tasks))
        return weights


@dataclass(frozen=True)
class LanguageModelling:
    """Held-out text: loss in nats per token, perplexity per token, bits per UTF-8 byte."""

    loss_nats: float
    perplexity: float
    bits_per_byte: float
    tokens: int


@dataclass(frozen=True, eq=False)
class ReplicateResult:
    """Scores of one model. The item columns [I] are ordered by suite, task, cluster and item id."""

    directory: Path
    items: NDArray[np.str_]
    suites: NDArray[np.str_]
    tasks: NDArray[np.str_]
    clusters: NDArray[np.int64]
    """Equal numbers share a story; rows without one have a number of their own."""
    answers: NDArray[np.float64]
    """Their mean over a task's items is its score as a share: 1 right, 0 wrong, a pseudo-value where no answer is
    either. Of suites `without_items` not a number."""
    scores: Mapping[str, SuiteScore]
    language_modelling: LanguageModelling
    step: int | None
    identity: Mapping[str, Any]
    """What the stage's identity says that must agree between arms (precision, suite, ...); empty without stage.json."""
    selection: Selection = "held-out"
    without_items: frozenset[str] = frozenset()
    """Suites whose score the stored items do not make."""

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Suites of every group, in stored order."""
        names: dict[str, tuple[str, ...]] = {}
        for suite, score in self.scores.items():
            names[score.group] = (*names.get(score.group, ()), suite)
        return names


@dataclass(frozen=True, eq=False)
class ArmResults:
    """An arm's results by replicate position; None where there is none."""

    arm: str
    replicates: tuple[ReplicateResult | None, ...]


def load_result(directory: Path, like: ReplicateResult | None = None) -> ReplicateResult:
    """Read `result.json`, `items.parquet` and, where present, `stage.json` of one directory.

    Args:
        directory: of a finished evaluate or floor stage.
        like: a result whose item columns are shared if they are equal (item ids of a study take gigabytes).

    Raises:
        InputError: a file is missing or unreadable, or the items do not give the scores.
    """
    result = read_json(directory / "result.json")
    try:
        scores = {name: _suite_score(value) for name, value in result["suites"].items()}
        modelling = LanguageModelling(**{k: result["language_modelling"][k] for k in LanguageModelling.__annotations__})
        step = result["step"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{directory / 'result.json'} is not the result of an evaluation ({error!r}); evaluate again"
        ) from error
    columns = _read_items(directory / "items.parquet")
    faults = [*_value_faults(scores, modelling), *_section_faults(scores), *_item_faults(columns, scores)]
    if faults:
        raise InputError([f"{directory}: {fault}" for fault in faults])
    shared = like is not None and all(np.array_equal(columns[n], c) for n, c in _index(like).items())
    index = _index(like) if like is not None and shared else columns
    return ReplicateResult(
        directory=directory,
        items=index["item"],
        suites=index["suite"],
        tasks=index["task"],
        clusters=index["cluster"],
        answers=columns["answer"],
        scores=scores,
        language_modelling=modelling,
        step=step,
        identity=_identity(directory / "stage.json"),
        without_items=_without_items(columns, scores),
    )


def same_items(one: ReplicateResult, other: ReplicateResult) -> bool:
    """True when both were scored on the same items of the same tasks."""
    return all(
        a is b or np.array_equal(a, b) for a, b in zip(_index(one).values(), _index(other).values(), strict=True)
    )


def _index(result: ReplicateResult) -> dict[str, NDArray[Any]]:
    return {"item": result.items, "suite": result.suites, "task": result.tasks, "cluster": result.clusters}


def _suite_score(value: Mapping[str, Any]) -> SuiteScore:
    tasks = {name: float(task["score"]) for name, task in value["tasks"].items()}
    chance = None if value["chance"] is None else float(value["chance"])
    sections = {name: tuple(of) for name, of in (value.get("sections") or {}).items()}
    metric = value.get("metric") or ACCURACY
    return SuiteScore(float(value["score"]), str(value["group"]), chance, tasks, metric, sections)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the directory of a finished evaluation") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON ({error}); evaluate again") from error


def read_table(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> Any:
    """Columns of a parquet file as a pyarrow table. Raises `InputError` where one of `names` is not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise InputError(f"{path} does not exist; give the directory of a finished evaluation")
    try:
        there = [name for name in optional if name in pq.read_schema(path).names]
        table = pq.read_table(path, columns=[*names, *there])
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); evaluate again") from error
    if not set(names) <= set(table.column_names):
        lacking = ", ".join(name for name in names if name not in table.column_names)
        raise InputError(f"{path} lacks {lacking} (it has {sorted(table.column_names)}); evaluate again")
    return table


def _read_items(path: Path) -> dict[str, NDArray[Any]]:
    """The columns ordered by suite, task, cluster, item; `answer` is what the model made of an item, as a share.

    Evaluations of earlier revisions have no clusters, so that each of their rows is its own, and no pseudo-values.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = clustered(read_table(path, ("item", "suite", "task", "correct"), optional=("cluster", "pseudo_value")))
    if "pseudo_value" not in table.column_names:
        table = table.append_column("pseudo_value", pa.nulls(len(table), pa.float64()))
    table = table.sort_by([(name, "ascending") for name in ("suite", "task", "cluster", "item")])
    columns = {name: np.asarray(table[name].to_pylist(), dtype=np.str_) for name in ("item", "suite", "task")}
    answers = pc.coalesce(table["correct"].cast(pa.float64()), table["pseudo_value"], pa.scalar(math.nan))
    return columns | {
        "cluster": numbered(table["cluster"]),
        "answer": np.asarray(answers.combine_chunks(), dtype=np.float64),
        "unjudged": np.asarray(table["correct"].is_null().combine_chunks(), dtype=np.bool_),
    }


def clustered(table: Any) -> Any:
    """Items with their clusters, where an earlier revision wrote none: each is its own."""
    return table if "cluster" in table.column_names else table.append_column("cluster", table["item"])


def numbered(clusters: Any) -> NDArray[np.int64]:
    """A number for every cluster of a column, in the order of its rows."""
    return np.asarray(clusters.combine_chunks().dictionary_encode().indices, dtype=np.int64)


def _without_items(columns: Mapping[str, NDArray[Any]], scores: Mapping[str, SuiteScore]) -> frozenset[str]:
    """Suites that are not judged right or wrong, and of which an item, or every one, has no pseudo-value."""
    lacking = set(columns["suite"][np.isnan(columns["answer"])].tolist()) | (
        scores.keys() - set(columns["suite"].tolist())
    )
    return frozenset(name for name, score in scores.items() if score.metric != ACCURACY and name in lacking)


def _value_faults(scores: Mapping[str, SuiteScore], modelling: LanguageModelling) -> list[str]:
    faults = [
        f"suite {name} has the score {score.score}, which is no number; evaluate again"
        for name, score in scores.items()
        if not math.isfinite(score.score)
    ]
    if not (math.isfinite(modelling.perplexity) and modelling.perplexity > 0.0):
        faults.append(f"perplexity={modelling.perplexity} must be a finite number above 0; did the training diverge?")
    return faults


def _section_faults(scores: Mapping[str, SuiteScore]) -> list[str]:
    """Sections must hold every task once, and a suite's score be the mean that its tasks give."""
    faults = []
    for name, score in scores.items():
        listed = [task for tasks in score.sections.values() for task in tasks]
        if score.sections and (sorted(listed) != sorted(score.tasks) or not all(score.sections.values())):
            faults.append(f"suite {name}: its sections hold {listed}, its tasks are {[*score.tasks]}; evaluate again")
            continue
        mean = sum(weight * score.tasks[task] for task, weight in score.task_weights().items())
        if abs(mean - score.score) > SCORE_TOLERANCE:
            faults.append(f"suite {name}: the score is {score.score}, its tasks give {mean}; evaluate again")
    return faults


def _item_faults(columns: Mapping[str, NDArray[Any]], scores: Mapping[str, SuiteScore]) -> list[str]:
    """The stored items must give the stored scores, task by task."""
    without = _without_items(columns, scores)
    judged = {name: score for name, score in scores.items() if name not in without}
    faults = [
        f"suite {name} has items that are neither right nor wrong, but its metric is accuracy; evaluate again"
        for name, score in judged.items()
        if score.metric == ACCURACY and np.any(columns["unjudged"] & (columns["suite"] == name))
    ]
    if len(np.unique(columns["item"])) < len(columns["item"]):
        faults.append("items.parquet names an item twice; evaluate again")
    stored = {(suite, task): value for suite, score in judged.items() for task, value in score.tasks.items()}
    found = {key: mean for key, mean in _task_means(columns).items() if key[0] not in scores.keys() - judged.keys()}
    faults += [f"{suite}/{task} has a score but no items" for suite, task in stored if (suite, task) not in found]
    faults += [f"{suite}/{task} has items but no score" for suite, task in found if (suite, task) not in stored]
    for key, value in found.items():
        if key in stored and not abs(stored[key] - value) <= SCORE_TOLERANCE:
            faults.append(f"{'/'.join(key)}: the score is {stored[key]}, its items give {value}; evaluate again")
    return faults


def _task_means(columns: Mapping[str, NDArray[Any]]) -> dict[tuple[str, str], float]:
    """Percent of every (suite, task) of the ordered columns."""
    if not len(columns["item"]):
        return {}
    starts = task_starts(columns["suite"], columns["task"])
    sizes = np.diff(np.append(starts, len(columns["item"])))
    means = 100.0 * np.add.reduceat(columns["answer"], starts) / sizes
    return {(str(columns["suite"][s]), str(columns["task"][s])): float(m) for s, m in zip(starts, means, strict=True)}


def task_starts(suites: NDArray[np.str_], tasks: NDArray[np.str_]) -> NDArray[np.int64]:
    """First index of every run of equal (suite, task)."""
    change = (suites[1:] != suites[:-1]) | (tasks[1:] != tasks[:-1])
    return np.concatenate([np.zeros(1, np.int64), np.flatnonzero(change).astype(np.int64) + 1])


def _identity(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    stage = read_json(path)
    params, inputs = stage.get("params", {}), stage.get("inputs", {})
    found = {name: params[name] for name in IDENTITY_PARAMS if name in params}
    return found | {name: inputs[name] for name in IDENTITY_INPUTS if name in inputs}
