"""MLflow says of a study, its trials and their trainings that they go on only while somebody is at them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from process_helper import below, wait_until
from study_helper import finish, start_study, study_project
from tiny_helper import command, environment

GOING_ON = {"rates@1": {"RUNNING"}, "trial": {"RUNNING"}, "train": {"RUNNING"}}
ENDED = {name: {"KILLED"} for name in GOING_ON}


def statuses(home: Path) -> dict[str, set[str]]:
    """Of the study, its trials and their trainings, by the first word of their names."""
    if not (home / "mlflow.db").exists():
        return {}
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
            for name, status in database.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'"):
                found.setdefault(name.split()[0], set()).add(status)
    return {name: found[name] for name in GOING_ON if name in found}


def test_a_study_that_is_interrupted_is_shown_as_killed_at_once_and_one_that_is_killed_by_the_next_command(
    tmp_path: Path,
) -> None:
    folder = study_project(tmp_path, steps=5_000)
    for number in (signal.SIGKILL, signal.SIGINT):
        process = start_study(folder)
        wait_until(lambda: statuses(folder / "home") == GOING_ON)
        others = below(process.pid)
        process.send_signal(number)
        if number == signal.SIGKILL:
            for pid in others:
                os.kill(pid, signal.SIGKILL)
        code, output, errors = finish(process)
        assert code == (130 if number == signal.SIGINT else -number), output + errors
        if number == signal.SIGKILL:
            assert statuses(folder / "home") == GOING_ON
            project = environment(folder / "home", ABLAB_PROJECT=str(folder))
            subprocess.run(command("ablab", "publish"), env=project, check=True, capture_output=True)
        assert statuses(folder / "home") == ENDED
