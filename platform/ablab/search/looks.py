"""What the learning curve of a trial scores on selection data, while its training goes on and behind it."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ablab.analysis.results import SuiteScore
from ablab.evaluate.looks import look_file, read_look
from ablab.search.halves import is_selection
from ablab.search.trial import Evaluation
from ablab.spec.metrics import AGGREGATE


def score_at(one: Evaluation, arm: str, metric: str, position: int, step: int) -> float | None:
    """A suite, a group or the aggregate of the arm's learning curve in one replicate at a step, in %.

    None where the checkpoint was not looked at. All suites of the metric have right answers (`search.check`).
    """
    roles, store = one.plan.arms[arm][position].roles, one.bench.store
    curve, suite = roles["curve"], roles["suite"]
    if store.has(curve.kind, curve.key):
        file = store.directory(curve.kind, curve.key) / "items.parquet"
        rows = pq.read_table(file, filters=[("step", "=", step)])
    else:
        look = read_look(look_file(store.work(curve.key), step))
        if look is None:
            return None
        rows = look.rows
    return selection_score(rows, store.directory(suite.kind, suite.key), metric) if len(rows) else None


def selection_score(rows: Any, suite: Path, metric: str) -> float:
    """The mean over the suites of the metric, each over its tasks' rows that are selection data.

    rows: a table with the columns of a learning curve. suite: the directory of the suites, which says how tasks weigh.
    """
    text = {name: np.asarray(rows[name].to_pylist(), np.str_) for name in ("item", "cluster", "suite", "task", "group")}
    correct = np.asarray(rows["correct"].to_numpy(), np.bool_)
    kept = is_selection(text["item"], text["cluster"])
    listed = json.loads((suite / "result.json").read_text(encoding="utf-8"))["suites"]
    scores = []
    for name in dict.fromkeys(text["suite"].tolist()):
        here = text["suite"] == name
        group = str(text["group"][here][0])
        if metric not in (name, group, AGGREGATE):
            continue
        tasks = {
            task: 100.0 * float(correct[here & kept & (text["task"] == task)].mean())
            for task in dict.fromkeys(text["task"][here].tolist())
        }
        sections = {section: tuple(of) for section, of in (listed[name].get("sections") or {}).items()}
        weights = SuiteScore(math.nan, group, None, tasks, sections=sections).task_weights()
        scores.append(math.fsum(weight * tasks[task] for task, weight in weights.items()))
    return statistics.fmean(scores)
