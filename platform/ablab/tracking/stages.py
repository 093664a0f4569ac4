"""Computed stages as runs of the experiment `ablab/stages`, found by the tag `ablab.stage_key`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from ablab.spec.canonical import canonical_json
from ablab.tracking.flatten import leaves, numbers, safe_name
from ablab.tracking.runs import Point, RunSpec, keep_one, upsert
from ablab.tracking.views import StageView

STAGES = "ablab/stages"
KEY_TAG, KIND_TAG = "ablab.stage_key", "ablab.kind"
NOT_FINITE_TAG = "ablab.not_finite"  # curves of which points are left out, not being numbers
CURVES = "curves.jsonl"
FILES = ("stage.json", "result.json", "manifest.json", "samples.json", CURVES)
"""Small files of a stage that become artifacts; corpora and weights stay in the store."""


def publish_stage(client: Any, experiment_id: str, view: StageView) -> str:
    """The run id of the stage. A finished run with the same result is left as it is."""
    return upsert(client, experiment_id, find_stage(client, experiment_id, view.key), stage_run(view))


def find_stage(client: Any, experiment_id: str, key: str) -> Any | None:
    """The run of a stage key, or None."""
    return keep_one(client, client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'"))


def stage_run(view: StageView) -> RunSpec:
    """What the run of a stage holds: identity and numerics as parameters, results and costs as metrics, curves."""
    finished = view.finished_ms or int((view.directory / "result.json").stat().st_mtime * 1_000)
    costs = dict(view.manifest.get("costs") or {})
    started = finished - int(costs.get("seconds", 0.0) * 1_000)
    numerics = dict(view.manifest.get("numerics") or {})
    points = tuple(_curves(view, started, finished))
    odd = sorted({point.name for point in points if not math.isfinite(point.value)})
    return RunSpec(
        name=f"{view.kind} · {view.label or view.key[:8]}",
        content=json.dumps(view.result, sort_keys=True),
        status="finished",
        started_ms=started,
        finished_ms=finished,
        params=dict(leaves(view.identity.get("params") or {})) | dict(leaves(numerics, "numerics.")),
        metrics=dict(numbers(view.result)) | dict(numbers(costs, "cost/")),
        curves=tuple(point for point in points if math.isfinite(point.value)),
        tags=_tags(view) | ({NOT_FINITE_TAG: ", ".join(odd)} if odd else {}),
        files={name: view.directory / name for name in FILES if (view.directory / name).is_file()},
    )


def _tags(view: StageView) -> dict[str, str]:
    inputs = dict(view.identity.get("inputs") or {})
    return {
        KEY_TAG: view.key,
        KIND_TAG: view.kind,
        "ablab.revision": canonical_json(view.identity.get("revision")),
        **{f"ablab.input.{name}": key for name, key in inputs.items()},
    }


def _curves(view: StageView, started: int, finished: int) -> Iterator[Point]:
    """Every number of `curves.jsonl` at its step; times are spread evenly, so publishing again gives the same."""
    file = view.directory / CURVES
    if not file.is_file():
        return
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    last = max((row["step"] for row in rows), default=1)
    for row in rows:
        time_ms = started + (finished - started) * row["step"] // max(last, 1)
        for name, value in numbers(row):
            if name != "step":
                yield Point(safe_name(name), value, time_ms, row["step"])
