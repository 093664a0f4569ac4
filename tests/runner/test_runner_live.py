"""A training is shown while it goes on, whether or not the tracking server is there all the time."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablab.runner import publisher
from ablab.runner.estimate import Estimate
from ablab.runner.plan import PlannedStage, Use
from ablab.runner.publisher import Desk, Publisher
from ablab.settings import Settings
from ablab.spec import Stage
from ablab.spec.placement import Numerics
from ablab.store import Store
from ablab.store.context import LIVE_FILE
from ablab.tracking import Tracker, start_server
from ablab.tracking.connection import connect
from ablab.tracking.services import free_port
from ablab.tracking.stages import STAGES, find_stage

STAGE = Stage("train", {"train_seed": 7, "schedule": {"steps": 9}})
TASK = {"follow": STAGE.key, "identity": STAGE.identity, "label": "real-only r1"}
DONE = {"stage": ["train", STAGE.key], "label": "real-only r1"}


def point(step: int) -> dict[str, float]:
    held_out = {"validation_loss_nats": 5.0 / step} if step % 3 == 0 else {}
    return {"step": step, "train_loss_nats": 6.0 / step, "learning_rate": 1e-3, "tokens": 64 * step} | held_out


class Training:
    """A training that tells, and in the end commits, `STAGE`."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        attempt = self.store.begin("train", STAGE.key, Numerics())
        assert attempt is not None
        self.attempt = attempt

    def steps(self, *steps: int) -> None:
        with (self.attempt.work / LIVE_FILE).open("a") as file:
            for step in steps:
                speed = {"tokens_per_second": 900.0 + step}
                if step % 3 == 0:  # a checkpoint that suites were scored at
                    speed |= {"score/minimal_pairs": 50.0 + step, "aggregate": 40.0 + step}
                file.write(json.dumps({**point(step), **speed, "time_ms": 1_764_000_000_000 + step}) + "\n")

    def finish(self, last: int) -> None:
        lines = (json.dumps(point(step)) + "\n" for step in range(1, last + 1))
        (self.attempt.out / "curves.jsonl").write_text("".join(lines))
        self.store.commit(self.attempt, STAGE.identity, {"parameters": 5}, {"costs": {"seconds": 1.0}})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The embedded MLflow; failed requests are not repeated, and nothing is waited for."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(publisher, "LIVE_S", 0.0)
    monkeypatch.setattr(publisher, "RETRY_S", 0.0)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return Settings(tmp_path, tmp_path, str(tmp_path / "store"), "", tmp_path, uri, tmp_path / "mlartifacts")


def history(settings: Settings, name: str) -> list[tuple[int, float]]:
    """Steps and values of a metric of the one run of `STAGE`, as the database has them."""
    client = connect(settings.tracking_uri)
    run = the_run(client)
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


def shown(settings: Settings) -> bool:
    """MLflow has a run of `STAGE`."""
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name(STAGES)
    return experiment is not None and bool(client.search_runs([experiment.experiment_id]))


def the_run(client: Any) -> Any:
    experiment = client.get_experiment_by_name(STAGES)
    assert len(client.search_runs([experiment.experiment_id])) == 1
    return find_stage(client, experiment.experiment_id, STAGE.key)


def test_what_a_dead_server_missed_arrives_when_it_is_back(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    training = Training(Path(settings.store))
    served = replace(settings, tracking_uri=f"http://127.0.0.1:{port}")
    desk = Desk(training.store, Tracker.of(served))
    with start_server(settings, port):
        desk.follow(TASK)
        desk.work()  # before the training has written anything
        training.steps(1, 2, 3)
        desk.work()
        assert history(settings, "train_loss_nats") == [(1, 6.0), (2, 3.0), (3, 2.0)]
        assert the_run(connect(settings.tracking_uri)).info.status == "RUNNING"
    training.steps(4, 5, 6)
    desk.work()
    assert "trying again" in capsys.readouterr().err
    training.steps(7, 8, 9)
    training.finish(9)  # which removes the file
    desk.stages.append(DONE)
    desk.work()
    with start_server(settings, port):
        desk.work()
    for name in ("train_loss_nats", "train_perplexity", "learning_rate", "tokens", "tokens_per_second"):
        assert [step for step, _ in history(settings, name)] == list(range(1, 10)), name
    assert history(settings, "validation_loss_nats") == [(3, 5.0 / 3), (6, 5.0 / 6), (9, 5.0 / 9)]
    assert history(settings, "score/minimal_pairs") == [(3, 53.0), (6, 56.0), (9, 59.0)]
    assert history(settings, "aggregate") == [(3, 43.0), (6, 46.0), (9, 49.0)]
    run = the_run(connect(settings.tracking_uri))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["parameters"] == 5


def test_a_resumed_training_goes_on_with_its_run_and_repeats_no_step(settings: Settings) -> None:
    training = Training(Path(settings.store))
    with Desk(training.store, Tracker.of(settings)) as desk:
        desk.follow(TASK)
        training.steps(1, 2, 3, 4)
        desk.work()
    with (training.attempt.work / LIVE_FILE).open("a") as file:
        file.write('{"step": 5, "tra\n')  # killed there
    training.steps(4, 5)  # from the checkpoint of step 3, under another publisher
    with Desk(training.store, Tracker.of(settings)) as desk:
        desk.follow(TASK)
        desk.work()
    training.store.discard(training.attempt)
    assert [step for step, _ in history(settings, "train_loss_nats")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in history(settings, "tokens_per_second")] == [1, 2, 3, 4, 5]


def test_a_training_that_ends_without_a_result_is_shown_as_killed_until_it_goes_on(
    settings: Settings,
) -> None:
    training = Training(Path(settings.store))
    training.steps(1, 2)
    connect(settings.tracking_uri)  # makes its tables
    with Publisher(settings, settings.home / "publisher.log") as process:
        process.stage_started(
            PlannedStage(STAGE, [Use("real-only", 0, "model")], "new", "", Estimate(0.0, 0.0, 0.0, 0.0))
        )
        while not shown(settings):
            time.sleep(0.05)
    run = the_run(connect(settings.tracking_uri))
    assert run.info.status == "KILLED"
    training.steps(3)
    with Desk(training.store, Tracker.of(settings)) as desk:
        desk.follow(TASK)
        desk.work()
    again = the_run(connect(settings.tracking_uri))
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "RUNNING")
    training.store.discard(training.attempt)


def test_a_run_that_showed_other_values_than_the_stage_has_is_made_anew(settings: Settings) -> None:
    """As after a resume on a GPU, within rounding."""
    training = Training(Path(settings.store))
    desk = Desk(training.store, Tracker.of(settings))
    desk.follow(TASK)
    (training.attempt.work / LIVE_FILE).write_text(
        json.dumps({**point(3), "train_loss_nats": 9.0, "time_ms": 5}) + "\n"
    )
    desk.work()
    assert history(settings, "train_loss_nats") == [(3, 9.0)]
    training.finish(3)
    desk.stages.append(DONE)
    desk.work()
    assert history(settings, "train_loss_nats") == [(1, 6.0), (2, 3.0), (3, 2.0)]
