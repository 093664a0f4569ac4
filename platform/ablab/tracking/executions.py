"""Executions of an ablation: one experiment, a parent run per execution, a child run per arm and replicate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ablab.spec.canonical import canonical_json
from ablab.tracking.colours import COLOUR_TAG, group_key
from ablab.tracking.learning import learning_points, score_points
from ablab.tracking.runs import Point, RunSpec, keep_one, upsert
from ablab.tracking.views import ArmView, ExecutionView

EXECUTION_TAG, ARM_TAG, REPLICATE_TAG = "ablab.execution", "ablab.arm", "ablab.replicate"
PARENT_TAG, NOTE_TAG = "mlflow.parentRunId", "mlflow.note.content"
VERDICTS_TAG = "ablab.verdicts"
ARM_PARAM = "arm"  # the arm as a parameter as well: charts have parameters as axes, not tags
DIFFERENCE = "difference/"  # what metrics of differences begin with


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Address of a run, or of one of its files, within MLflow's pages."""
    shown = f"/artifacts/{quote(artifact)}" if artifact else ""
    return f"#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}{shown}?workflowType=machine_learning"


@dataclass(frozen=True)
class StageRun:
    """Where a published stage lies in MLflow."""

    experiment_id: str
    run_id: str

    @property
    def link(self) -> str:
        """Address within MLflow's pages."""
        return run_page(self.experiment_id, self.run_id)


def publish_runs(
    client: Any,
    experiment_id: str,
    view: ExecutionView,
    stages: Mapping[str, StageRun],
    models: Mapping[tuple[str, int], str],
) -> str:
    """The run id of the execution. `stages` by key and `models` (logged model ids by train key and step) exist."""
    there = {stage.key: stage for stage in view.stages}
    runs = client.search_runs([experiment_id], f"tags.`{EXECUTION_TAG}` = '{view.id}'", max_results=50_000)
    parents = [run for run in runs if ARM_TAG not in run.data.tags]
    parent_id = upsert(client, experiment_id, keep_one(client, parents), _parent_run(view))
    published = {
        upsert(
            client,
            experiment_id,
            keep_one(client, _of(arm, runs)),
            _arm_run(
                experiment_id,
                view,
                arm,
                parent_id,
                stages,
                models,
                (
                    *learning_points(there.get(arm.stages.get("train", ""))),
                    *score_points(there.get(arm.stages.get("curve", ""))),
                ),
            ),
        )
        for arm in view.arms
    }
    wanted = {(arm.arm, arm.replicate) for arm in view.arms}
    for run in runs:
        if ARM_TAG in run.data.tags and _identity(run) not in wanted and run.info.run_id not in published:
            client.delete_run(run.info.run_id)  # an arm that the execution no longer has
    return parent_id


def note(view: ExecutionView) -> str:
    """Markdown whose first line, all that a collapsed description shows, is the outcome."""
    body = view.description_md.strip()
    if body.startswith(view.outcome_line):
        return body
    return f"{view.outcome_line}\n\n{body}".strip()


def _of(arm: ArmView, runs: list[Any]) -> list[Any]:
    return [run for run in runs if _identity(run) == (arm.arm, arm.replicate)]


def _identity(run: Any) -> tuple[str | None, str | None]:
    return run.data.tags.get(ARM_TAG), run.data.tags.get(REPLICATE_TAG)


def _parent_run(view: ExecutionView) -> RunSpec:
    files = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in sorted(view.artifacts.items())}
    params = {"scale": view.scale, **{f"set.{path}": value for path, value in view.edits.items()}}
    tags = dict(view.tags) | {
        EXECUTION_TAG: view.id,
        NOTE_TAG: note(view),
        "ablab.label": view.label,
        "ablab.scale": view.scale,
        "ablab.question": view.question,
        "ablab.design_digest": view.design_digest,
    }
    content = [view.label, view.finished_ms, params, tags, files, _shown(view.parent_metrics)]
    return RunSpec(
        name=view.label,
        content=canonical_json(content),
        status=view.status,
        started_ms=view.started_ms,
        finished_ms=view.finished_ms,
        params=params,
        metrics=view.parent_metrics,
        tags=tags,
        files=view.artifacts,
    )


def _arm_run(
    experiment_id: str,
    view: ExecutionView,
    arm: ArmView,
    parent_id: str,
    stages: Mapping[str, StageRun],
    models: Mapping[tuple[str, int], str],
    learning: tuple[Point, ...],
) -> RunSpec:
    linked = {role: stages[key] for role, key in arm.stages.items() if key in stages}
    tags = {
        EXECUTION_TAG: view.id,
        ARM_TAG: arm.arm,
        group_key(ARM_TAG, view.arm_names()): arm.arm,
        REPLICATE_TAG: arm.replicate,
        PARENT_TAG: parent_id,
        NOTE_TAG: _arm_note(arm, linked, run_page(experiment_id, parent_id)),
        "ablab.label": view.label,
        "ablab.scale": view.scale,
        VERDICTS_TAG: "; ".join(f"{verdict}: {claim}" for claim, verdict in arm.verdicts.items()),
        **{f"ablab.stage.{role}": _address(key, linked.get(role)) for role, key in arm.stages.items()},
    }
    if arm.colour:
        tags[COLOUR_TAG] = arm.colour
    outputs = [(models[arm.model.train, arm.model.step], arm.model.step)] if arm.model else []
    datasets = [[d.name, d.key, d.context, d.profile] for d in arm.datasets]
    params = {ARM_PARAM: arm.arm, **arm.factors}
    metrics = {**arm.metrics, **{DIFFERENCE + name: value for name, value in arm.differences.items()}}
    return RunSpec(
        name=f"{arm.arm} · {arm.replicate}",
        content=canonical_json([params, _shown(metrics), len(learning), tags, datasets, outputs, view.finished_ms]),
        status=arm.status,
        started_ms=view.started_ms,
        finished_ms=view.finished_ms,
        params=params,
        metrics=metrics,
        curves=learning,
        tags=tags,
        datasets=arm.datasets,
        models=tuple(outputs),
    )


def _address(key: str, stage: StageRun | None) -> str:
    """The key of a stage and, where it is published, the id of its run."""
    return f"{key} {stage.run_id}" if stage else key


def _arm_note(arm: ArmView, linked: Mapping[str, StageRun], execution: str) -> str:
    """What produced the arm: its model, and a link to every computed stage."""
    lines = [f"Arm **{arm.arm}**, replicate {arm.replicate}, of [this execution]({execution})."]
    if arm.model:
        uri = f"models:/{arm.model.name}@{arm.model.alias}"
        lines.append(f'Load its [model](#/models/{arm.model.name}): `mlflow.transformers.load_model("{uri}")`')
    if arm.remark:
        lines.append(arm.remark)
    if linked:
        lines.append("Stages: " + ", ".join(f"[{role}]({stage.link})" for role, stage in linked.items()))
    return "\n\n".join(lines)


def _shown(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: repr(float(value)) for name, value in metrics.items()}
