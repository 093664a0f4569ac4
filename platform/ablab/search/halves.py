"""Selection data and final data, kept apart: what a search looks at, and what its winner is judged by.

| | selection | final |
|---|---|---|
| perplexity | validation split, at the judged checkpoint | test split |
| suites | every other block of four rows of each task, from the first | the blocks between them |

Both are read off one evaluation, so a trial that equals an arm of an ablation costs nothing. Rows that share a story
go with the first of them. Blocks, because mirrored copies of a question stand beside each other. What is no mean over
items (WUG, reading) is computed again from the rows of a half, and so is what each of them adds to it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.results import ACCURACY, LanguageModelling, ReplicateResult, SuiteScore, load_result
from ablab.analysis.weighing import suites_of
from ablab.errors import RunError
from ablab.evaluate.jackknife import pseudo_values
from ablab.search.spec import BLOCK
from ablab.spec.metrics import PERPLEXITY

LEAST_ROWS = 3  # two always correlate perfectly or not at all
Half = Literal["selection", "final"]


@dataclass(frozen=True)
class Judgement:
    """The finished stage directories that tell how one model was judged."""

    evaluate: Path
    select: Path
    suite: Path


def load_half(judgement: Judgement, half: Half) -> ReplicateResult:
    """One evaluation as this half of the data shows it; tasks, sections and suites weigh as they do in the whole.

    Raises InputError for results that cannot be used, RunError where a task has too few rows in this half.
    """
    whole = load_result(judgement.evaluate)
    kept = is_selection(whole.items, whole.clusters) == (half == "selection")
    part = replace(
        whole,
        items=whole.items[kept],
        suites=whole.suites[kept],
        tasks=whole.tasks[kept],
        clusters=whole.clusters[kept],
        answers=whole.answers[kept],
        scores={},
        language_modelling=_validation(whole, judgement.select) if half == "selection" else whole.language_modelling,
        without_items=frozenset(),
    )
    return replace(part, scores={name: _score(part, name, one, judgement) for name, one in whole.scores.items()})


def value(result: ReplicateResult, metric: str) -> float:
    """Score in %, or perplexity, of a half."""
    if metric == PERPLEXITY:
        return result.language_modelling.perplexity
    return statistics.fmean(result.scores[suite].score for suite in suites_of(result, metric))


def is_loss(metric: str) -> bool:
    """Differences of it are relative, in %."""
    return metric == PERPLEXITY


def is_selection(items: NDArray[np.str_], clusters: NDArray[Any]) -> NDArray[np.bool_]:
    """By the lowest row of a cluster in item ids `<suite>/<task>/<row>`: 0-3 are selection, 4-7 final, 8-11
    selection, ..."""
    rows = np.array([int(str(item).rpartition("/")[2]) for item in items], dtype=np.int64)
    _, cluster = np.unique(clusters, return_inverse=True)
    lowest = np.full(cluster.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, cluster, rows)
    return np.asarray(lowest[cluster] // BLOCK % 2 == 0, dtype=np.bool_)


def _score(part: ReplicateResult, suite: str, whole: SuiteScore, judgement: Judgement) -> SuiteScore:
    tasks = {task: _task_score(part, suite, task, whole.metric, judgement) for task in whole.tasks}
    found = replace(whole, tasks=tasks)
    return replace(found, score=sum(weight * tasks[task] for task, weight in found.task_weights().items()))


def _task_score(part: ReplicateResult, suite: str, task: str, metric: str, judgement: Judgement) -> float:
    """In %, of the task's rows in this half. Pseudo-values are those of the half from then on."""
    here = (part.suites == suite) & (part.tasks == task)
    if metric != ACCURACY:
        values = _values(set(part.items[here].tolist()), suite, task, metric, judgement)
        part.answers[here] = [values.get(item, math.nan) for item in part.items[here].tolist()]
    found = float(part.answers[here].mean()) if here.any() else math.nan
    if not math.isfinite(found):
        raise RunError(
            f"{suite}/{task} has too few rows to be divided into selection and final data ({int(here.sum())} here)",
            f"take more items per task (at least {2 * BLOCK} rows), or leave the suite out",
        )
    return 100.0 * found


def _values(kept: set[str], suite: str, task: str, metric: str, judgement: Judgement) -> Mapping[str, float]:
    """Pseudo-values of the rows by id, whose mean is their score as evaluation has it; none without a score."""
    log_probs = _log_probs(judgement.evaluate, suite, task)
    with (judgement.suite / suite / f"{task}.jsonl").open(encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["id"] in kept]
    if len(rows) < LEAST_ROWS:
        return {}
    found = pseudo_values(metric, rows, [log_probs[row["id"]] for row in rows])
    return {} if found is None else dict(zip((row["id"] for row in rows), found, strict=True))


def _log_probs(evaluate: Path, suite: str, task: str) -> Mapping[str, list[float]]:
    import pyarrow.parquet as pq

    filters: Any = [("suite", "=", suite), ("task", "=", task)]
    table = pq.read_table(evaluate / "items.parquet", columns=["item", "log_probs"], filters=filters)
    return dict(zip(table["item"].to_pylist(), table["log_probs"].to_pylist(), strict=True))


def _validation(whole: ReplicateResult, select: Path) -> LanguageModelling:
    """Language modelling on the validation split, as the training measured it at the judged checkpoint."""
    chosen = json.loads((select / "result.json").read_text(encoding="utf-8"))
    loss = float(chosen["validation_loss_nats"])
    return replace(whole.language_modelling, loss_nats=loss, perplexity=math.exp(loss), bits_per_byte=math.nan)
