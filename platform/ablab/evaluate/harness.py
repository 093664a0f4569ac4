"""Suites as lm-eval tasks and groups, and one run of lm-eval over them."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from ablab.errors import RunError
from ablab.evaluate.items import ItemOutcome, Suite, read_suites, rows_path
from ablab.evaluate.jackknife import pseudo_values
from ablab.evaluate.metrics import ACCURACY, R2_INCREMENT, SPEARMAN, score_of

TASKS = Path(__file__).parent / "tasks"
TASK_FILES = {ACCURACY: "options.yaml", SPEARMAN: "nonce.yaml", R2_INCREMENT: "reading.yaml"}
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
    """`results` are lm-eval's own numbers, by task (`<suite>/<task>`) and by suite, as shares.

    A suite with sections has the mean over lm-eval's numbers of its sections.
    """

    results: Mapping[str, float]
    outcomes: Sequence[ItemOutcome]


_last_built: dict[str, Harness] = {}  # at most one entry, by content: the next checkpoint has the same suites


def build(
    directory: Path, locations: Mapping[str, Path], names: Sequence[str] | None = None, first: int | None = None
) -> Harness:
    """Tasks of a suite directory; those of the last call again if the content is the same.

    locations: encrypted zips by their SHA-256. names: of suites, None for all. first: so many items of every task
    that has right answers, None for all.
    """
    suites = [one.limited(first) for one in read_suites(directory) if names is None or one.name in names]
    if not suites:
        return Harness([], {})
    key = _digest(directory, suites)
    if key not in _last_built:
        _last_built.clear()
        _last_built[key] = Harness(suites, _load(directory, suites, locations))
    return _last_built[key]


def _digest(directory: Path, suites: Sequence[Suite]) -> str:
    total = hashlib.sha256(repr(suites).encode())
    for suite in suites:
        for task in suite.tasks:
            total.update(hashlib.sha256(rows_path(directory, suite.name, task).read_bytes()).digest())
    return total.hexdigest()


def _load(directory: Path, suites: Sequence[Suite], locations: Mapping[str, Path]) -> TaskDict:
    """Write a task file for every file of items, which includes ours, and a group file for every suite; load them."""
    with TemporaryDirectory(prefix="ablab-tasks-") as folder:
        for number, config in enumerate(_configs(directory, suites, locations)):
            (Path(folder) / f"{number:05}.yaml").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
        manager = TaskManager(include_path=folder, include_defaults=False)
        loaded: TaskDict = manager.load([suite.name for suite in suites])
    _check_counts(loaded, suites)
    return loaded


def _configs(directory: Path, suites: Sequence[Suite], locations: Mapping[str, Path]) -> list[dict[str, Any]]:
    """lm-eval configurations; JSON is YAML, so they are written as JSON. They hold no text and no password."""
    configs: list[dict[str, Any]] = []
    for suite in suites:
        configs += _groups(suite)
        for task in suite.tasks:
            source: dict[str, Any] = {
                "path": str(rows_path(directory, suite.name, task).resolve()),
                "metric": suite.metric,
                "first": suite.limit,
            }
            if suite.encrypted is not None:
                path = str(locations[suite.encrypted])
                source["archive"] = {"path": path, "sha256": suite.encrypted, "task": task}
            include = str(TASKS / TASK_FILES[suite.metric])
            configs.append({"include": include, "task": task_name(suite.name, task), "dataset_kwargs": source})
    return configs


def _groups(suite: Suite) -> list[dict[str, Any]]:
    """A group with the unweighted mean over the tasks: of the suite, or of each of its sections."""
    mean = [{"metric": suite.metric, "aggregation": "mean", "weight_by_size": False}]
    if suite.sections is None:
        names = [task_name(suite.name, task) for task in suite.tasks]
        return [{"group": suite.name, "task": names, "aggregate_metric_list": mean}]
    groups: list[dict[str, Any]] = [
        {
            "group": section_name(suite.name, section),
            "task": [task_name(suite.name, task) for task in tasks],
            "aggregate_metric_list": mean,
        }
        for section, tasks in suite.sections.items()
    ]
    return [*groups, {"group": suite.name, "task": [group["group"] for group in groups]}]


def task_name(suite: str, task: str) -> str:
    """Name of a task inside lm-eval; cannot be a suite's name, which holds no slash."""
    return f"{suite}/{task}"


def section_name(suite: str, section: str) -> str:
    """Name of a section's group inside lm-eval; cannot be a task's name, which has one slash."""
    return f"{suite}//{section}"


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
    if not harness.suites:
        return Evaluated({}, [])
    # no bootstrap: ablab has paired statistics of its own; no samples: they would hold every item's text
    report = evaluate(lm=lm, task_dict=harness.task_dict, bootstrap_iters=0, log_samples=False)
    results: dict[str, float] = {}
    outcomes: list[ItemOutcome] = []
    for suite in harness.suites:
        for task in suite.tasks:
            name = task_name(suite.name, task)
            found = _outcomes(harness.task_dict["tasks"][name], suite, task)
            results[name] = _number(report["results"], name, suite.metric)
            docs = harness.task_dict["tasks"][name].eval_docs
            check_score(name, found, docs, results[name])
            outcomes += found if suite.metric == ACCURACY else _with_pseudo_values(found, docs)
        groups = [suite.name] if suite.sections is None else [section_name(suite.name, s) for s in suite.sections]
        means = [_number(report["results"], group, suite.metric) for group in groups]
        results[suite.name] = math.fsum(means) / len(means)
    return Evaluated(results, outcomes)


def _number(results: Mapping[str, Mapping[str, Any]], name: str, metric: str) -> float:
    found = float(results[name][f"{metric},none"])  # lm-eval's key: metric, filter
    if not math.isfinite(found):
        raise RunError(
            f"{name}: its {metric} is {found}",
            "the model gives every item the same answer, or its data cannot be fitted; leave the suite out",
        )
    return found


def _outcomes(task: Any, suite: Suite, name: str) -> list[ItemOutcome]:
    """Outcomes of one task in the order of its file, from the answers that lm-eval kept with its requests."""
    log_probs: dict[int, list[float]] = {index: [] for index in range(len(task.eval_docs))}
    for instance in task.instances:
        log_prob, _ = instance.filtered_resps["none"]
        log_probs[instance.doc_id].append(log_prob)
    docs = task.eval_docs
    return [
        ItemOutcome(docs[i]["id"], suite.name, name, suite.group, tuple(found), suite.metric, docs[i].get("cluster"))
        for i, found in log_probs.items()
    ]


def _with_pseudo_values(outcomes: Sequence[ItemOutcome], docs: Sequence[Mapping[str, Any]]) -> list[ItemOutcome]:
    values = pseudo_values(outcomes[0].metric, docs, [outcome.log_probs for outcome in outcomes])
    if values is None:
        return [*outcomes]
    return [replace(one, pseudo_value=value) for one, value in zip(outcomes, values, strict=True)]


def check_score(name: str, outcomes: Sequence[ItemOutcome], docs: Sequence[Mapping[str, Any]], reported: float) -> None:
    """The score of the items as they are written must be the number that lm-eval reports; `RunError` otherwise."""
    metric = outcomes[0].metric
    if metric == ACCURACY:
        found = sum(bool(outcome.correct) for outcome in outcomes) / len(outcomes)
    else:
        found = score_of(metric, docs, [outcome.log_probs for outcome in outcomes])
    if not math.isclose(found, reported, abs_tol=TOLERANCE):
        raise RunError(
            f"{name}: lm-eval reports {metric} {reported}, but that of its items is {found}",
            "the installed lm-eval scores in another way than ablab expects; use the locked version",
        )
