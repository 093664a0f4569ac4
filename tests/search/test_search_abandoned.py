"""MLflow says of a study, its trials and their trainings that they go on only while somebody is at them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from process_helper import below, wait_until
from study_helper import finish, start_study, study_project
from tiny_helper import command, environment

from ablab.tracking.connection import connect


def statuses(home: Path) -> dict[str, set[str]]:
    """Of the runs of every experiment, by name of the run without what is counted in it."""
    database = home / "mlflow.db"
    if not database.exists():
        return {}
    client = connect(f"sqlite:///{database}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    found: dict[str, set[str]] = {}
    for run in runs:
        found.setdefault(run.info.run_name.split()[0], set()).add(run.info.status)
    return found


def test_a_study_that_is_interrupted_is_shown_as_killed_at_once_and_one_that_is_killed_by_the_next_command(
    tmp_path: Path,
) -> None:
    folder = study_project(tmp_path, steps=5_000)
    going_on = {"rates@dev": {"RUNNING"}, "trial": {"RUNNING"}, "train": {"RUNNING"}}
    ended = {name: {"KILLED"} for name in going_on}
    for number in (signal.SIGKILL, signal.SIGINT):
        process = start_study(folder)
        wait_until(lambda: statuses(folder / "home") == going_on)
        others = below(process.pid)
        process.send_signal(number)
        if number == signal.SIGKILL:
            for pid in others:
                os.kill(pid, signal.SIGKILL)
        code, output, errors = finish(process)
        assert code == (130 if number == signal.SIGINT else -number), output + errors
        if number == signal.SIGKILL:
            assert statuses(folder / "home") == going_on
            project = environment(folder / "home", ABLAB_PROJECT=str(folder))
            subprocess.run(command("ablab", "publish"), env=project, check=True, capture_output=True)
        assert statuses(folder / "home") == ended
