"""A generated corpus in MLflow: its course over the steps, and pages that are drawn once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablab.tracking import StageView, Tracker
from ablab.tracking.connection import connect


def stage(root: Path, kind: str, result: dict[str, Any], files: Mapping[str, Any]) -> StageView:
    identity = {"schema": 1, "kind": kind, "revision": 1, "params": {}, "inputs": {}}
    manifest = {"files": {}, "numerics": {}, "costs": {"seconds": 2.0}}
    root.mkdir()
    for name, value in {"stage": identity, "result": result, "manifest": manifest}.items():
        (root / f"{name}.json").write_text(json.dumps(value))
    for name, value in files.items():
        (root / name).write_text(json.dumps(value))
    return StageView("a" * 64, kind, root, identity, result, manifest, finished_ms=1_764_000_000_000)


def test_lists_by_step_become_curves_without_what_was_not_measured(tracker: Tracker, tmp_path: Path) -> None:
    steps = {"sampled": [4, 3], "head_size": [9.5, 2.0], "argmax_changed": None, "kl_good_nats": [0.25, None]}
    run_id = tracker.publish_stage(stage(tmp_path / "made", "generate", {"tokens": 7}, {"steps.json": steps}))
    client = connect(tracker.uri)
    found = {
        name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
        for name in client.get_run(run_id).data.metrics
        if name.startswith("by_step/")
    }
    assert found == {
        "by_step/sampled": [(0, 4), (1, 3)],
        "by_step/head_size": [(0, 9.5), (1, 2)],
        "by_step/kl_good_nats": [(0, 0.25)],
    }
    assert "steps.json" in {file.path for file in client.list_artifacts(run_id)}


def test_what_a_stage_draws_is_drawn_once_and_kept(tracker: Tracker, tmp_path: Path) -> None:
    drawn: list[Path] = []

    def draw(folder: Path) -> dict[str, Path]:
        drawn.append(folder)
        (folder / "plot.png").write_bytes(b"a picture")
        return {"figures/plot.png": folder / "plot.png"}

    view = replace(stage(tmp_path / "described", "describe", {"documents": 7}, {}), draw=draw)
    run_id = tracker.publish_stage(view)
    assert tracker.publish_stage(view) == run_id
    assert len(drawn) == 1
    assert not drawn[0].exists()
    downloaded = connect(tracker.uri).download_artifacts(run_id, "figures/plot.png", str(tmp_path))
    assert Path(downloaded).read_bytes() == b"a picture"
