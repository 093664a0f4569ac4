"""From a stage to the stages that it was made from: links in the descriptions of their runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablab.tracking.executions import NOTE_TAG, run_page
from ablab.tracking.views import StageView


def inputs_first(stages: Sequence[StageView]) -> list[StageView]:
    """The stages in an order in which each comes behind those that it was made from."""
    by_key = {stage.key: stage for stage in stages}
    ordered: dict[str, StageView] = {}

    def add(stage: StageView) -> None:
        for key in _inputs(stage).values():
            if key in by_key and key not in ordered:
                add(by_key[key])
        ordered[stage.key] = stage

    for stage in by_key.values():
        add(stage)
    return list(ordered.values())


def link_stage(client: Any, experiment_id: str, stage: StageView, runs: Mapping[str, str]) -> None:
    """Describe the run of a stage. runs: ids by key of what is published, the stage's own included."""
    run_id = runs[stage.key]
    shown = " ".join(_note(stage, experiment_id, runs))
    if client.get_run(run_id).data.tags.get(NOTE_TAG) != shown:
        client.set_tag(run_id, NOTE_TAG, shown)


def _note(stage: StageView, experiment_id: str, runs: Mapping[str, str]) -> Iterator[str]:
    yield f"Stage **{stage.kind}** `{stage.key[:12]}`,"
    made_from = [
        f"[{name}]({run_page(experiment_id, runs[key])})" if key in runs else f"{name} `{key[:12]}`"
        for name, key in _inputs(stage).items()
    ]
    yield f"made from {', '.join(made_from)}." if made_from else "made from no other stage."


def _inputs(stage: StageView) -> Mapping[str, str]:
    return stage.identity.get("inputs") or {}
