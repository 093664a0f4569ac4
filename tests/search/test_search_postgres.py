"""A whole study whose registry and trials are in PostgreSQL: two workers at once, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from postgres_helper import PostgresServer, database
from process_helper import wait_until
from study_helper import finish, start_study, study_project

from ablab.search.places import study_place
from ablab.search.stored import stored_study

pytestmark = pytest.mark.postgres

RATES = '{"schedule.learning_rate": Float(low=1e-3, high=1e-2, log=True)}'
TRIALS = 3
ONE_THREAD = ("--numerics", "threads=1")


def test_the_trial_of_a_killed_worker_is_picked_up_by_the_other_and_counted_once(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = study_project(
        tmp_path,
        space=RATES,
        steps=20,
        budget=f"trials={TRIALS}, hours=None, device_hours=None, failures_in_a_row=2",
    )
    with database(postgres_server, "registry") as registry, database(postgres_server, "studies") as studies:
        around = {"ABLAB_REGISTRY_URL": registry, "ABLAB_STUDY_URL": studies}
        killed = start_study(folder, *ONE_THREAD, **around)
        other = start_study(folder, "--json", *ONE_THREAD, **around)
        number, point = begun(killed)
        wait_until(lambda: list((folder / "home/store/.work").glob("*/live.jsonl")))
        os.kill(killed.pid, signal.SIGKILL)
        assert finish(killed)[0] == -signal.SIGKILL
        code, output, errors = finish(other)
        assert code == 0, errors
        told: dict[str, Any] = json.loads(output)
        assert [row["number"] for row in told["rows"]] == list(range(TRIALS))
        assert {row["state"] for row in told["rows"]} == {"complete"}
        taken = told["rows"][number]
        assert f"{taken['edits']['schedule.learning_rate']}" == point
        assert len(taken["executions"]) == 2, "once by each worker"
        stored = stored_study(study_place(studies), "rates@1 tiny")
        assert [trial.state.name for trial in stored.optuna.trials] == ["COMPLETE"] * TRIALS
        code, output, errors = finish(start_study(folder, "--json", *ONE_THREAD, **around))
        assert code == 0, errors
        again = json.loads(output)
        assert [again[part] for part in ("rows", "winners", "base")] == [
            told[part] for part in ("rows", "winners", "base")
        ]
    records = [json.loads(path.read_text()) for path in (folder / "home/store/executions").glob("*.json")]
    assert sorted(one["status"] for one in records if one["id"] in taken["executions"]) == ["finished", "interrupted"]
    assert not list((folder / "home/store/.attempts").glob("*"))
    assert not list((folder / "home").glob("registry.db")) and not list((folder / "home").glob("studies.db"))


def begun(worker: Any) -> tuple[int, str]:
    """Number and point of the first trial of a worker, as it tells them."""
    lines: list[str] = []
    while not lines or not lines[-1].startswith("trial "):
        lines.append(worker.stdout.readline())
        assert lines[-1], "".join(lines) + worker.stderr.read()
    head, _, point = lines[-1].strip().partition(": learning_rate=")
    return int(head.removeprefix("trial ")), point
