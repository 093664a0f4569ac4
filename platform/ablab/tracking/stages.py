"""Computed stages as runs of the experiment `ablab/stages`, found by the tag `ablab.stage_key`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ablab.spec.canonical import canonical_json
from ablab.tracking.flatten import leaves, numbers, safe_name
from ablab.tracking.runs import Point, RunSpec, is_published, keep_one, upsert
from ablab.tracking.views import StageView

STAGES = "ablab/stages"
KEY_TAG, KIND_TAG = "ablab.stage_key", "ablab.kind"
NOT_FINITE_TAG = "ablab.not_finite"  # curves of which points are left out, not being numbers
CURVES = "curves.jsonl"
STEPS, BY_STEP = "steps.json", "by_step"  # lists by step of a generated sequence, and before the names of their metrics
LOSS = "train_loss_nats"
PERPLEXITIES = {LOSS: "train_perplexity", "validation_loss_nats": "validation_perplexity"}
CURVE_METRICS = frozenset({*PERPLEXITIES, *PERPLEXITIES.values(), "learning_rate", "gradient_norm", "tokens"})
LIVE_METRICS = frozenset({"tokens_per_second", "model_flops_utilisation", "memory_bytes", "score/", "aggregate"})
"""What is shown while a training goes on and stays beside what follows from the store."""
MAX_LOSS_NATS = 700.0  # its exponential is still a number
FILES = ("stage.json", "result.json", "manifest.json", "samples.json", STEPS, CURVES)
"""Small files of a stage that become artifacts; corpora and weights stay in the store."""


def publish_stage(client: Any, experiment_id: str, view: StageView) -> str:
    """The run id of the stage. A finished run with the same result is left as it is, and nothing is drawn for it."""
    found, spec = find_stage(client, experiment_id, view.key), stage_run(view)
    if view.draw is None or is_published(found, spec):
        return upsert(client, experiment_id, found, spec)
    with TemporaryDirectory(prefix="ablab-stage-") as folder:
        drawn = view.draw(Path(folder))
        return upsert(client, experiment_id, found, replace(spec, files={**spec.files, **drawn}))


def find_stage(client: Any, experiment_id: str, key: str) -> Any | None:
    """The run of a stage key, or None."""
    return keep_one(client, client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'"))


def stage_run(view: StageView) -> RunSpec:
    """What the run of a stage holds: identity and numerics as parameters, results and costs as metrics, curves."""
    started, finished = _times(view)
    costs = dict(view.manifest.get("costs") or {})
    numerics = dict(view.manifest.get("numerics") or {})
    points = curves(view)
    odd = sorted({point.name for point in points if not math.isfinite(point.value)})
    return RunSpec(
        name=run_name(view.kind, view.label, view.key),
        content=json.dumps(view.result, sort_keys=True),
        status="finished",
        started_ms=started,
        finished_ms=finished,
        params=params_of(view.identity) | dict(leaves(numerics, "numerics.")),
        metrics=dict(numbers(view.result)) | dict(numbers(costs, "cost/")),
        curves=tuple(point for point in points if math.isfinite(point.value)),
        tags=tags_of(view.key, view.kind, view.identity) | ({NOT_FINITE_TAG: ", ".join(odd)} if odd else {}),
        files={name: view.directory / name for name in FILES if (view.directory / name).is_file()},
        beside=LIVE_METRICS,
    )


def run_name(kind: str, label: str, key: str) -> str:
    """What the run of a stage is called."""
    return f"{kind} · {label or key[:8]}"


def params_of(identity: Mapping[str, Any]) -> dict[str, str]:
    """A stage's own hashed parameters."""
    return dict(leaves(identity.get("params") or {}))


def tags_of(key: str, kind: str, identity: Mapping[str, Any]) -> dict[str, str]:
    """What a stage is found by, and the keys of its inputs."""
    inputs = dict(identity.get("inputs") or {})
    return {
        KEY_TAG: key,
        KIND_TAG: kind,
        "ablab.revision": canonical_json(identity.get("revision")),
        **{f"ablab.input.{name}": key for name, key in inputs.items()},
    }


def curves(view: StageView) -> tuple[Point, ...]:
    """Every number of `curves.jsonl` and `steps.json`, and of the scores of a learning curve, at its step; times are
    spread evenly, so publishing again gives the same."""
    started, finished = _times(view)
    rows = [*_training_rows(view.directory / CURVES), *_generation_rows(view.directory / STEPS)]
    if view.kind == "curve":
        rows += _score_rows(view.result)
    last = max((row["step"] for row in rows), default=1)
    return tuple(
        point
        for row in rows
        for point in curve_points(row, started + (finished - started) * row["step"] // max(last, 1))
    )


def _training_rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.is_file():
        yield from (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line)


def _generation_rows(file: Path) -> Iterator[dict[str, Any]]:
    lists = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    measured = {name: values for name, values in lists.items() if values is not None}
    for step in range(max(map(len, measured.values()), default=0)):
        yield {"step": step, BY_STEP: {name: values[step] for name, values in measured.items()}}


def _score_rows(curve: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """As a training tells them while it goes on."""
    for at, step in enumerate(curve["steps"]):
        scores = {name: suite["scores"][at] for name, suite in curve["suites"].items()}
        yield {"step": step, "score": scores, "aggregate": curve["aggregate"][at]}


def curve_points(row: Mapping[str, Any], time_ms: int) -> Iterator[Point]:
    """The numbers of one step, and the perplexities of its losses."""
    for name, value in numbers(row):
        if name not in ("step", "time_ms"):
            yield Point(safe_name(name), value, time_ms, row["step"])
        if name in PERPLEXITIES and value < MAX_LOSS_NATS:
            yield Point(PERPLEXITIES[name], math.exp(value), time_ms, row["step"])


def _times(view: StageView) -> tuple[int, int]:
    """Begin and end of the stage in milliseconds since 1970."""
    finished = view.finished_ms or int((view.directory / "result.json").stat().st_mtime * 1_000)
    seconds = (view.manifest.get("costs") or {}).get("seconds", 0.0)
    return finished - int(seconds * 1_000), finished
