"""The publisher of a study: the runner's, which is told of whole studies beside stages."""

from __future__ import annotations

from typing import Any

from ablab.runner.publisher import serve_tasks
from ablab.search.figures import write_figures
from ablab.search.places import study_place
from ablab.search.projection import FIGURES, study_view, write_outcome
from ablab.search.stored import StoredStudy, stored_study
from ablab.settings import Settings
from ablab.store import Store
from ablab.tracking import Tracker


def publish_study(tracker: Tracker, stored: StoredStudy, settings: Settings, *, ended: bool) -> str:
    """Write the files of a study, draw its figures and show all of it in MLflow. Returns the id of its run."""
    folder = stored.folder(settings.home)
    write_outcome(folder, stored)
    write_figures(folder / FIGURES, stored.optuna, stored.outcome.metrics)
    return tracker.publish_study(study_view(stored, folder, ended=ended))


def main(task_pipe: int, event_pipe: int) -> None:
    """The process: publishes what it is told. The first failure is reported and ends it."""
    serve_tasks(task_pipe, event_pipe, _publish)


def _publish(tracker: Tracker, _store: Store, settings: Settings, task: dict[str, Any]) -> str:
    stored = stored_study(study_place(settings.study_url), task["study"])
    return publish_study(tracker, stored, settings, ended=task["ended"])
