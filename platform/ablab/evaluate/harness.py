"""Suites as lm-eval tasks and groups, and one run of lm-eval over them."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from ablab.errors import RunError
from ablab.evaluate.items import ItemOutcome, Suite, read_suites, rows_path

OPTIONS_FILE = Path(__file__).parent / "tasks" / "options.yaml"
METRIC = "acc,none"  # lm-eval's key: metric, filter
TOLERANCE = 1e-9

TaskDict = dict[str, Any]

logging.getLogger("lm_eval").setLevel(logging.WARNING)  # it tells of every task and every kind of request


@dataclass(frozen=True)
class Harness:
    """Suites and what lm-eval made of them: a task for every file, a group for every suite."""

    suites: Sequence[Suite]
    task_dict: TaskDict


@dataclass(frozen=True)
class Evaluated:
    """`results` are lm-eval's own numbers, by task (`<suite>/<task>`) and by suite, as shares."""

    results: Mapping[str, float]
    outcomes: Sequence[ItemOutcome]


_last_built: dict[str, Harness] = {}  # at most one entry, by content: the next checkpoint has the same suites


def build(directory: Path) -> Harness:
    """Tasks of a suite directory; those of the last call again if the content is the same."""
    suites = read_suites(directory)
    key = _digest(directory, suites)
    if key not in _last_built:
        _last_built.clear()
        _last_built[key] = Harness(suites, _load(directory, suites))
    return _last_built[key]


def _digest(directory: Path, suites: Sequence[Suite]) -> str:
    total = hashlib.sha256((directory / "result.json").read_bytes())
    for suite in suites:
        for task in suite.tasks:
            total.update(hashlib.sha256(rows_path(directory, suite.name, task).read_bytes()).digest())
    return total.hexdigest()


def _load(directory: Path, suites: Sequence[Suite]) -> TaskDict:
    """Write a task file for every file of items, which includes ours, and a group file for every suite; load them."""
    with TemporaryDirectory(prefix="ablab-tasks-") as folder:
        for number, config in enumerate(_configs(directory, suites)):
            (Path(folder) / f"{number:05}.yaml").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
        manager = TaskManager(include_path=folder, include_defaults=False)
        loaded: TaskDict = manager.load([suite.name for suite in suites])
    _check_counts(loaded, suites)
    return loaded


def _configs(directory: Path, suites: Sequence[Suite]) -> list[dict[str, Any]]:
    """lm-eval configurations; JSON is YAML, so they are written as JSON."""
    configs: list[dict[str, Any]] = []
    for suite in suites:
        names = [task_name(suite.name, task) for task in suite.tasks]
        mean = {"metric": "acc", "aggregation": "mean", "weight_by_size": False}
        configs.append({"group": suite.name, "task": names, "aggregate_metric_list": [mean]})
        for name, task in zip(names, suite.tasks, strict=True):
            path = str(rows_path(directory, suite.name, task).resolve())
            configs.append({"include": str(OPTIONS_FILE), "task": name, "dataset_kwargs": {"path": path}})
    return configs


def task_name(suite: str, task: str) -> str:
    """Name of a task inside lm-eval; cannot be a suite's name, which holds no slash."""
    return f"{suite}/{task}"


def _check_counts(loaded: TaskDict, suites: Sequence[Suite]) -> None:
    for suite in suites:
        for task, items in suite.tasks.items():
            found = len(loaded["tasks"][task_name(suite.name, task)].eval_docs)
            if found != items:
                raise RunError(
                    f"{task_name(suite.name, task)} holds {found} items, but its result says {items}",
                    "remove the suite stage from the store, so that it is built again",
                )


def run(lm: LM, harness: Harness) -> Evaluated:
    """Score every item with `lm` through lm-eval. Raises `RunError` if items and lm-eval's numbers disagree."""
    # no bootstrap: ablab has paired statistics of its own; no samples: they would hash every item's text
    report = evaluate(lm=lm, task_dict=harness.task_dict, bootstrap_iters=0, log_samples=False)
    results = {name: float(metrics[METRIC]) for name, metrics in report["results"].items()}
    outcomes: list[ItemOutcome] = []
    for suite in harness.suites:
        for task in suite.tasks:
            found = _outcomes(harness.task_dict["tasks"][task_name(suite.name, task)], suite, task)
            check_mean(task_name(suite.name, task), found, results[task_name(suite.name, task)])
            outcomes += found
    return Evaluated(results, outcomes)


def _outcomes(task: Any, suite: Suite, name: str) -> list[ItemOutcome]:
    """Outcomes of one task in the order of its file, from the answers that lm-eval kept with its requests."""
    log_probs: dict[int, list[float]] = {index: [] for index in range(len(task.eval_docs))}
    for instance in task.instances:
        log_prob, _ = instance.filtered_resps["none"]
        log_probs[instance.doc_id].append(log_prob)
    docs = task.eval_docs
    return [ItemOutcome(docs[i]["id"], suite.name, name, suite.group, tuple(lps)) for i, lps in log_probs.items()]


def check_mean(name: str, outcomes: Sequence[ItemOutcome], reported: float) -> None:
    """The items' mean must be the number that lm-eval reports; `RunError` otherwise."""
    mean = sum(outcome.correct for outcome in outcomes) / len(outcomes)
    if not math.isclose(mean, reported, abs_tol=TOLERANCE):
        raise RunError(
            f"{name}: lm-eval reports accuracy {reported}, but the mean of its items is {mean}",
            "the installed lm-eval scores in another way than ablab expects; use the locked version",
        )
