"""The publisher of a study: the runner's, which is told of whole studies beside stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablab.runner.publisher import serve_tasks
from ablab.search.projection import study_view
from ablab.settings import Settings
from ablab.store import Store
from ablab.tracking import Tracker


def main(task_pipe: int, event_pipe: int) -> None:
    """The process: publishes what it is told. The first failure is reported and ends it."""
    serve_tasks(task_pipe, event_pipe, _publish)


def _publish(tracker: Tracker, _store: Store, _settings: Settings, task: dict[str, Any]) -> str:
    """The id of the study whose folder the task names."""
    view = study_view(Path(task["study"]))
    tracker.publish_study(view)
    return view.id
