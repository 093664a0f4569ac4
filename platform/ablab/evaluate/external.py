"""Suites that are lm-eval's own tasks: run by its code over our model, on the documents of a snapshot."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate

from ablab.corpora.requests import Request
from ablab.errors import RunError
from ablab.evaluate.snapshot import SnapshotTask, load, seed_draws
from ablab.spec.suites import RIGHT_OR_WRONG

MOST_PROBABLE = frozenset({"acc", "f1", "mcc"})
"""Metrics that take the most probable option for the answer; others weigh by length, or see no single answer."""


@dataclass(frozen=True)
class External:
    """One suite as the suite stage leaves it: snapshots, and what of their results counts."""

    name: str
    group: str
    chance: float | None
    tasks: Mapping[str, int]
    """Documents by task."""
    metric: str
    filter: str
    versions: Mapping[str, Any]
    loaded: Mapping[str, SnapshotTask]


@dataclass(frozen=True)
class DocumentOutcome:
    """What a model did with one document; the columns of `items.parquet`."""

    item: str
    suite: str
    task: str
    group: str
    correct: bool | None
    prediction: int | None
    """The option that the metric takes for the answer; None where the log-probabilities alone do not say it."""
    value: float | None
    log_probs: tuple[float, ...]
    """Of every text that the document asks for; of options behind their context alone."""
    pseudo_value: float | None = None
    """`value`, where the score is the mean of them and not one of right answers."""

    @property
    def cluster(self) -> str:
        """Every document stands for itself."""
        return self.item


@dataclass(frozen=True)
class Judged:
    """Scores as shares by task, their mean, and every document."""

    tasks: Mapping[str, float]
    score: float
    outcomes: Sequence[DocumentOutcome]


def read_external(directory: Path, names: Sequence[str] | None = None, first: int | None = None) -> list[External]:
    """lm-eval's tasks of a suite directory. names: of suites, None for all. first: so many documents at most."""
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))["suites"]
    found = []
    for name, entry in result.items():
        if "lm_eval" in entry and (names is None or name in names):
            about = entry["lm_eval"]
            tasks = {task: min(count, first or count) for task, count in entry["tasks"].items()}
            loaded = {task: load(directory / name / f"{task}.zip") for task in tasks}
            measured = (about["metric"], about["filter"], about["versions"])
            found.append(External(name, entry["group"], entry["chance"], tasks, *measured, loaded))
    return found


def asked(suite: External) -> Iterator[Request]:
    """The completions that `judge` will ask for. Texts to write, and whole texts, never are too long: they are cut."""
    for name, task in suite.loaded.items():
        seed_draws()
        task.build_all_requests(limit=suite.tasks[name])
        for one in task.instances:
            if one.request_type == "loglikelihood":
                yield Request((f"{suite.name}/{name}/{one.doc_id}", one.idx), one.args, False)


def judge(lm: LM, suite: External) -> Judged:
    """Run every task. Raises `RunError` where the metric is no share, or is not that of its documents."""
    scores: dict[str, float] = {}
    outcomes: list[DocumentOutcome] = []
    for name, task in suite.loaded.items():
        seed_draws()
        report = evaluate(lm=lm, task_dict={"tasks": {name: task}}, limit=suite.tasks[name], bootstrap_iters=0)
        scores[name] = _score(report["results"][name], suite, name)
        samples = [one for one in report["samples"][name] if one["filter"] == suite.filter]
        found = [_outcome(one, suite, task) for one in sorted(samples, key=lambda one: int(one["doc_id"]))]
        _check(found, scores[name], suite, name)
        outcomes += _with_pseudo_values(found, scores[name])
    return Judged(scores, math.fsum(scores.values()) / len(scores), outcomes)


def _score(results: Mapping[str, Any], suite: External, task: str) -> float:
    value = results.get(f"{suite.metric},{suite.filter}")
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise RunError(
            f"suite {suite.name!r}: {suite.metric} of lm-eval's task {task} is {value}, but a suite's metric must be a "
            "share from 0 to 1",
            "name another of its metrics in metric",
        )
    return float(value)


def _outcome(sample: Mapping[str, Any], suite: External, task: SnapshotTask) -> DocumentOutcome:
    number = sample.get(suite.metric)
    value = float(number) if isinstance(number, bool | int | float) else None
    asked = [answer for answer in sample["filtered_resps"] if isinstance(answer, tuple | list)]
    log_probs = tuple(float(answer[0]) for answer in asked)
    choice = task.OUTPUT_TYPE == "multiple_choice"
    if choice:  # acc_mutual_info asks for every option without its context too, behind the others
        log_probs = log_probs[: len(task.doc_to_choice(sample["doc"]))]
    return DocumentOutcome(
        item=f"{suite.name}/{task.config.task}/{sample['doc_id']}",
        suite=suite.name,
        task=task.config.task,
        group=suite.group,
        correct=None if suite.metric not in RIGHT_OR_WRONG else value == 1.0,
        prediction=log_probs.index(max(log_probs)) if choice and suite.metric in MOST_PROBABLE else None,
        value=value,
        log_probs=log_probs,
    )


def _with_pseudo_values(outcomes: Sequence[DocumentOutcome], score: float) -> list[DocumentOutcome]:
    """Of a metric that is a mean over documents, but not of right answers; others (f1, mcc) have none."""
    values = [one.value for one in outcomes if one.correct is None and one.value is not None]
    if len(values) < len(outcomes) or not math.isclose(math.fsum(values) / len(values), score, abs_tol=1e-9):
        return [*outcomes]
    return [replace(one, pseudo_value=one.value) for one in outcomes]


def _check(outcomes: Sequence[DocumentOutcome], score: float, suite: External, task: str) -> None:
    """What is called right or wrong must make the task's score: the statistics are over documents."""
    if suite.metric not in RIGHT_OR_WRONG:
        return
    share = sum(bool(one.correct) for one in outcomes) / len(outcomes)
    if not math.isclose(share, score, abs_tol=1e-9):
        raise RunError(
            f"suite {suite.name!r}: lm-eval's task {task} reports {suite.metric} {score}, but {share} of its documents "
            "have it",
            "name another of its metrics in metric",
        )


def result_of(suite: External, judged: Judged) -> dict[str, Any]:
    """The suite's entry in the result of a stage, in %."""
    tasks = {
        task: {"score": 100 * judged.tasks[task], "items": items, "version": suite.versions[task]}
        for task, items in suite.tasks.items()
    }
    more = {} if suite.metric in RIGHT_OR_WRONG else {"metric": suite.metric}
    return {"score": 100 * judged.score, "group": suite.group, "chance": suite.chance, "tasks": tasks} | more
