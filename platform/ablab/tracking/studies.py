"""Studies in MLflow: an experiment per study, a parent run per scale, a child run per trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablab.spec.canonical import canonical_json
from ablab.tracking.executions import NOTE_TAG, PARENT_TAG, run_page
from ablab.tracking.pages import NOTE_LIMIT, PAGES_TAG
from ablab.tracking.runs import Point, RunSpec, keep_one, upsert
from ablab.tracking.views import Status

STUDY_TAG, TRIAL_TAG = "ablab.study", "ablab.trial"


@dataclass(frozen=True)
class TrialView:
    """One trial."""

    number: int
    params: Mapping[str, str]
    """Recipe paths and their values."""
    values: Mapping[str, float]
    """Of a complete trial, by metric: means over all replicates."""
    curves: Mapping[str, tuple[tuple[int, float], ...]]
    """Steps and values: by replicate, by step of training."""
    metrics: Mapping[str, float]
    """Other numbers: computing seconds, stages."""
    status: Status
    started_ms: int
    finished_ms: int | None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyView:
    """One study at one scale."""

    id: str
    """What its runs are found by."""
    experiment: str
    label: str
    scale: str
    question: str
    outcome_line: str
    """The outcome in one line: the first line of every description."""
    description_md: str
    status: Status
    started_ms: int
    finished_ms: int | None
    trials: tuple[TrialView, ...]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    """Files of the parent run by artifact name: outcome.json, figures/history.png, ..."""


def publish_study(client: Any, experiment_id: str, view: StudyView) -> str:
    """The run id of the study; trials that an ended study no longer has are deleted."""
    runs = client.search_runs([experiment_id], f"tags.`{STUDY_TAG}` = '{view.id}'", max_results=50_000)
    parents = [run for run in runs if TRIAL_TAG not in run.data.tags]
    parent_id = upsert(client, experiment_id, keep_one(client, parents), _parent_run(view))
    published = set()
    for trial in view.trials:
        found = [run for run in runs if run.data.tags.get(TRIAL_TAG) == str(trial.number)]
        published.add(upsert(client, experiment_id, keep_one(client, found), _trial_run(view, trial, parent_id)))
    known = {str(trial.number) for trial in view.trials}
    for run in runs if view.status != "running" else ():  # of one that runs another worker may have told more
        if TRIAL_TAG in run.data.tags and run.data.tags[TRIAL_TAG] not in known:
            client.delete_run(run.info.run_id)
    _describe(client, experiment_id, parent_id, view)
    return parent_id


def _describe(client: Any, experiment_id: str, parent_id: str, view: StudyView) -> None:
    """The experiment's description is that of the study that was published last; its pages are those of all scales."""
    tags = client.get_experiment(experiment_id).tags
    page = {f"{view.label} {view.scale}": run_page(experiment_id, parent_id)}
    pages = json.loads(tags.get(PAGES_TAG, "{}")) | page
    links = " · ".join(f"[{title}]({address})" for title, address in pages.items())
    note = f"{view.outcome_line}\n\n{links}\n\n{view.description_md}"[:NOTE_LIMIT]
    for name, value in {PAGES_TAG: json.dumps(pages), NOTE_TAG: note}.items():
        if tags.get(name) != value:
            client.set_experiment_tag(experiment_id, name, value)


def _parent_run(view: StudyView) -> RunSpec:
    files = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in sorted(view.artifacts.items())}
    tags = {
        STUDY_TAG: view.id,
        NOTE_TAG: f"{view.outcome_line}\n\n{view.description_md}".strip(),
        "ablab.label": view.label,
        "ablab.scale": view.scale,
        "ablab.question": view.question,
    }
    metrics = {name: repr(float(value)) for name, value in view.metrics.items()}
    return RunSpec(
        name=f"{view.label} {view.scale}",
        content=canonical_json([view.label, view.finished_ms, dict(view.params), tags, files, metrics]),
        status=view.status,
        started_ms=view.started_ms,
        finished_ms=view.finished_ms,
        params=view.params,
        metrics=view.metrics,
        tags=tags,
        files=view.artifacts,
    )


def _trial_run(view: StudyView, trial: TrialView, parent_id: str) -> RunSpec:
    tags = {
        **trial.tags,
        STUDY_TAG: view.id,
        TRIAL_TAG: str(trial.number),
        PARENT_TAG: parent_id,
        "ablab.scale": view.scale,
    }
    metrics = {**trial.values, **trial.metrics}
    time_ms = trial.finished_ms or trial.started_ms
    shown = [{name: repr(float(value)) for name, value in metrics.items()}, dict(trial.curves)]
    return RunSpec(
        name=f"trial {trial.number}",
        content=canonical_json([dict(trial.params), shown, tags, trial.status, trial.finished_ms]),
        status=trial.status,
        started_ms=trial.started_ms,
        finished_ms=trial.finished_ms,
        params=trial.params,
        metrics=metrics,
        curves=tuple(
            Point(name, value, time_ms, step) for name, points in trial.curves.items() for step, value in points
        ),
        tags=tags,
    )
