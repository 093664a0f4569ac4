"""The publisher of a study: the runner's, which is told of whole studies beside stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablab.runner.interrupted import end_runs
from ablab.runner.publisher import serve_tasks
from ablab.search.figures import write_figures
from ablab.search.going_on import is_going_on
from ablab.search.places import study_place
from ablab.search.projection import FIGURES, study_view, write_outcome
from ablab.search.stored import StoredStudy, stored_studies, stored_study
from ablab.settings import Settings
from ablab.store import Store
from ablab.tracking import Tracker
from ablab.tracking.studies import STUDY_TAG, TRIAL_TAG


def publish_study(tracker: Tracker, stored: StoredStudy, settings: Settings, *, ended: bool) -> str:
    """Write the files of a study, draw its figures and show all of it in MLflow. Returns the id of its run."""
    folder = stored.folder(settings.home)
    write_outcome(folder, stored)
    write_figures(folder / FIGURES, stored.optuna, stored.outcome.metrics)
    return tracker.publish_study(study_view(stored, folder, ended=ended))


def end_abandoned(tracker: Tracker, store: Store, settings: Settings) -> None:
    """Show in MLflow as killed what nobody is at any more: trainings, trials and studies."""
    end_runs(tracker, store)
    studies = {one.id: one for one in stored_studies(study_place(settings.study_url))}
    going_on = {id_ for id_, one in studies.items() if is_going_on(one, store, settings)}

    def abandoned(tags: Mapping[str, str]) -> bool:
        study = studies.get(tags.get(STUDY_TAG, ""))
        if study is None:
            return False
        if TRIAL_TAG in tags:
            return int(tags[TRIAL_TAG]) not in study.running
        return study.id not in going_on

    tracker.end_abandoned({one.experiment for one in studies.values()}, abandoned)


def main(task_pipe: int, event_pipe: int) -> None:
    """The process: publishes what it is told. The first failure is reported and ends it."""
    serve_tasks(task_pipe, event_pipe, _publish, end_abandoned)


def _publish(tracker: Tracker, _store: Store, settings: Settings, task: dict[str, Any]) -> str:
    stored = stored_study(study_place(settings.study_url), task["study"])
    return publish_study(tracker, stored, settings, ended=task["ended"])
