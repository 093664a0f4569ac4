"""One run of MLflow, made to be what is declared: created, completed, changed or left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ablab.spec.canonical import canonical_json, digest
from ablab.tracking.artifacts import put_files
from ablab.tracking.connection import load_mlflow
from ablab.tracking.flatten import fit_metrics, fit_params, fit_tags
from ablab.tracking.views import DatasetView, Status

DIGEST_TAG = "ablab.digest"  # written last: a run that has it is complete
STATUS: Mapping[Status, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
# MLflow takes 1,000 entities and a megabyte at a time; these fit both at their greatest lengths
METRICS_PER_BATCH, TEXTS_PER_BATCH = 900, 50


@dataclass(frozen=True)
class Point:
    """A metric at a step of training."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class RunSpec:
    """Everything that a run shall hold. `content` stands for all of it: equal content is not sent again."""

    name: str
    content: str
    status: Status
    started_ms: int
    finished_ms: int | None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: tuple[Point, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    datasets: tuple[DatasetView, ...] = ()
    models: tuple[tuple[str, int], ...] = ()
    """Logged models that the run declares as its outputs, with the step of each."""
    beside: frozenset[str] = frozenset()
    """Metrics that the run may hold without being told here; they stay. A name that ends in '/' is the beginning of
    theirs."""


def upsert(client: Any, experiment_id: str, found: Any | None, spec: RunSpec) -> str:
    """Make a run hold `spec` and return its id; `found` is the run that stands for it so far.

    Tags, later values of metrics and files are changed in place. What MLflow cannot change (a parameter, a metric or
    an input taken away) makes a new run in place of the old one.
    """
    fitted = _fit(spec)
    complete = digest(spec.content)
    if found is not None and is_published(found, spec):
        return str(found.info.run_id)
    left = _curves_left(client, found, fitted.curves)
    if found is not None and (left is None or not _can_become(found, fitted, spec.beside)):
        client.delete_run(found.info.run_id)
        found = None
    elif left is not None:
        fitted = replace(fitted, curves=left)
    if found is None:
        # with its tags: a run that is killed here could not be found by any of them
        run = client.create_run(experiment_id, start_time=spec.started_ms, tags=fitted.tags, run_name=spec.name)
    else:
        run = found
        client.update_run(run.info.run_id, status="RUNNING", name=spec.name)
    run_id = str(run.info.run_id)
    _send(client, run, fitted)
    put_files(run.info.artifact_uri, spec.files, lambda folder: client.log_artifacts(run_id, folder))
    client.set_tag(run_id, DIGEST_TAG, complete)
    if spec.status != "running":
        client.set_terminated(run_id, STATUS[spec.status], end_time=spec.finished_ms)
    return run_id


def keep_one(client: Any, runs: list[Any]) -> Any | None:
    """The oldest of runs that stand for one thing; the others, made by publishers at the same time, are deleted."""
    ordered = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
    for run in ordered[1:]:
        client.delete_run(run.info.run_id)
    return ordered[0] if ordered else None


@dataclass(frozen=True)
class _Fitted:
    """A spec within MLflow's limits."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    curves: tuple[Point, ...]
    datasets: tuple[DatasetView, ...]
    models: tuple[tuple[str, int], ...]
    time_ms: int


def _fit(spec: RunSpec) -> _Fitted:
    params, cut_params = fit_params(spec.params)
    metrics, cut_metrics = fit_metrics(spec.metrics)
    tags = fit_tags(spec.tags, [*cut_params, *cut_metrics])
    time_ms = spec.finished_ms or spec.started_ms
    return _Fitted(params, metrics, tags, spec.curves, spec.datasets, spec.models, time_ms)


def is_published(found: Any | None, spec: RunSpec) -> bool:
    """True where the run that stands for `spec` holds it already."""
    if found is None:
        return False
    return bool(found.info.status == STATUS[spec.status] and found.data.tags.get(DIGEST_TAG) == digest(spec.content))


def _curves_left(client: Any, found: Any | None, curves: tuple[Point, ...]) -> tuple[Point, ...] | None:
    """The points that the run lacks; None when it has another value at one of their steps."""
    if found is None:
        return curves
    names = {point.name for point in curves} & set(found.data.metrics)
    there = {(name, m.step): m.value for name in names for m in client.get_metric_history(found.info.run_id, name)}
    if any(there.get((point.name, point.step), point.value) != point.value for point in curves):
        return None
    return tuple(point for point in curves if (point.name, point.step) not in there)


def _can_become(found: Any, fitted: _Fitted, beside: frozenset[str]) -> bool:
    names = {*fitted.metrics, *(point.name for point in fitted.curves), *beside}
    beginnings = tuple(name for name in beside if name.endswith("/"))
    inputs = {(d.dataset.name, d.dataset.digest) for d in found.inputs.dataset_inputs}
    return (
        all(fitted.params.get(name) == value for name, value in found.data.params.items())
        and all(name in names or name.startswith(beginnings) for name in found.data.metrics)
        and inputs <= {(d.name, d.key[:36]) for d in fitted.datasets}
        and _models_of(found) <= set(fitted.models)
    )


def _models_of(run: Any) -> set[tuple[str, int]]:
    outputs = run.outputs.model_outputs if run.outputs else []
    return {(output.model_id, output.step) for output in outputs}


def _send(client: Any, run: Any, fitted: _Fitted) -> None:
    entities = load_mlflow().entities
    run_id = run.info.run_id
    old = run.data.metrics
    points = [Point(n, v, fitted.time_ms, 0) for n, v in fitted.metrics.items() if old.get(n) != v]
    metrics = [entities.Metric(p.name, p.value, p.time_ms, p.step) for p in (*points, *fitted.curves)]
    params = [entities.Param(name, value) for name, value in fitted.params.items() if name not in run.data.params]
    tags = [entities.RunTag(name, value) for name, value in fitted.tags.items() if run.data.tags.get(name) != value]
    chunks = zip_longest(
        _chunks(metrics, METRICS_PER_BATCH), _chunks(params, TEXTS_PER_BATCH), _chunks(tags, TEXTS_PER_BATCH)
    )
    for some_metrics, some_params, some_tags in chunks:
        client.log_batch(run_id, some_metrics or (), some_params or (), some_tags or ())
    if fitted.datasets:
        client.log_inputs(run_id, [_dataset_input(entities, dataset) for dataset in fitted.datasets], None)
    new_models = [model for model in fitted.models if model not in _models_of(run)]
    if new_models:
        client.log_outputs(run_id, [entities.LoggedModelOutput(model_id, step) for model_id, step in new_models])


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _dataset_input(entities: Any, dataset: DatasetView) -> Any:
    source = canonical_json({"stage": dataset.key})
    described = entities.Dataset(
        dataset.name, dataset.key[:36], "ablab", source, profile=canonical_json(dataset.profile)
    )
    return entities.DatasetInput(described, [entities.InputTag("mlflow.data.context", dataset.context)])
