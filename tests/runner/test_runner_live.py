"""A training is shown while it goes on, whether or not the tracking server is there all the time."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from process_helper import wait_until
from stages_helper import execution_record

from ablab.runner import publisher
from ablab.runner.estimate import Estimate
from ablab.runner.plan import PlannedStage, Use
from ablab.runner.publisher import Desk, Publisher
from ablab.settings import Settings
from ablab.spec import Stage
from ablab.spec.placement import Numerics
from ablab.store import Store
from ablab.store.context import LIVE_FILE
from ablab.store.executions import write_execution
from ablab.tracking import Tracker, start_server
from ablab.tracking.connection import connect
from ablab.tracking.services import free_port
from ablab.tracking.stages import KEY_TAG, STAGES, find_stage

STAGE, OTHER = (Stage("train", {"train_seed": seed, "schedule": {"steps": 9}}) for seed in (7, 8))
TASK = {"follow": STAGE.key, "identity": STAGE.identity, "label": "real-only r1"}
DONE = {"stage": ["train", STAGE.key], "label": "real-only r1"}


def point(step: int) -> dict[str, float]:
    held_out = {"validation_loss_nats": 5.0 / step} if step % 3 == 0 else {}
    return {"step": step, "train_loss_nats": 6.0 / step, "learning_rate": 1e-3, "tokens": 64 * step} | held_out


class Training:
    """A training that tells, and in the end commits, a stage."""

    def __init__(self, root: Path, stage: Stage = STAGE) -> None:
        self.store, self.stage = Store(root), stage
        attempt = self.store.begin("train", stage.key, Numerics())
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
        self.store.commit(self.attempt, self.stage.identity, {"parameters": 5}, {"costs": {"seconds": 1.0}})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The embedded MLflow; failed requests are not repeated, and nothing is waited for."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(publisher, "LIVE_S", 0.0)
    monkeypatch.setattr(publisher, "RETRY_S", 0.0)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return Settings(tmp_path, tmp_path, str(tmp_path / "store"), "", tmp_path, uri, tmp_path / "mlartifacts")


def history(settings: Settings, name: str, stage: Stage = STAGE) -> list[tuple[int, float]]:
    """Steps and values of a metric of the one run of a stage, as the database has them."""
    client = connect(settings.tracking_uri)
    run = the_run(client, stage)
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


def shown(settings: Settings) -> bool:
    """MLflow has a run of `STAGE`."""
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name(STAGES)
    return experiment is not None and bool(client.search_runs([experiment.experiment_id]))


def the_run(client: Any, stage: Stage = STAGE) -> Any:
    experiment = client.get_experiment_by_name(STAGES)
    runs = client.search_runs([experiment.experiment_id])
    assert sum(run.data.tags[KEY_TAG] == stage.key for run in runs) == 1
    return find_stage(client, experiment.experiment_id, stage.key)


def planned(stage: Stage) -> PlannedStage:
    return PlannedStage(stage, [Use("real-only", 0, "model")], "new", "", Estimate(0.0, 0.0, 0.0, 0.0))


@dataclass
class Held:
    """A way to a server on which nothing goes on until `released`."""

    port: int
    asked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def way_to(port: int) -> Iterator[Held]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = Held(listening.getsockname()[1])

        def carry(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError), target:
                while data := source.recv(65_536):
                    target.sendall(data)

        def serve(client: socket.socket) -> None:
            held.asked.set()
            held.released.wait()
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=carry, args=(client, server), daemon=True).start()
            carry(server, client)

        def accept() -> None:
            with suppress(OSError):  # it is closed at the end
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield held
        held.released.set()


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


def test_a_server_that_does_not_answer_holds_up_no_training_and_misses_nothing(settings: Settings) -> None:
    """The second training begins and ends while an answer to the first one is waited for."""
    port = free_port()
    record = execution_record(status="failed", finished_at="2025-11-22T10:00:01+00:00")
    first, second = Training(Path(settings.store)), Training(Path(settings.store), OTHER)
    write_execution(first.store.root, record)
    with start_server(settings, port), way_to(port) as way:
        slow = replace(settings, tracking_uri=f"http://127.0.0.1:{way.port}")
        with Publisher(slow, settings.home / "publisher.log") as process:
            process.stage_started(planned(STAGE))
            first.steps(1, 2, 3)
            assert way.asked.wait(120)
            process.stage_started(planned(OTHER))
            second.steps(*range(1, 10))
            wait_until(lambda: is_read(process, second))
            for training in (first, second):
                training.steps(*range(4, 10))
                training.finish(9)
                process.stage_done(planned(training.stage))
            assert not way.released.is_set()
            way.released.set()
            process.publish(record.id)
    for stage in (STAGE, OTHER):
        for name in ("train_loss_nats", "learning_rate", "tokens_per_second"):
            assert [step for step, _ in history(settings, name, stage)] == list(range(1, 10)), name
        assert the_run(connect(settings.tracking_uri), stage).info.status == "FINISHED"


def is_read(process: Publisher, training: Training) -> bool:
    """The publisher has opened what a training tells."""
    assert process._process is not None
    opened = Path(f"/proc/{process._process.pid}/fd")
    return str(training.attempt.work / LIVE_FILE) in map(os.path.realpath, opened.iterdir())


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
        process.stage_started(planned(STAGE))
        wait_until(lambda: shown(settings))
    run = the_run(connect(settings.tracking_uri))
    assert run.info.status == "KILLED"
    training.steps(3)
    with Desk(training.store, Tracker.of(settings)) as desk:
        desk.follow(TASK)
        desk.work()
    again = the_run(connect(settings.tracking_uri))
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "RUNNING")
    training.store.discard(training.attempt)


def test_a_training_whose_whole_run_was_killed_is_shown_as_killed_by_the_next_that_publishes(
    settings: Settings,
) -> None:
    training = Training(Path(settings.store))
    record = execution_record(status="failed", finished_at="2025-11-22T10:00:01+00:00")
    write_execution(training.store.root, record)
    training.steps(1, 2)
    with Desk(training.store, Tracker.of(settings)) as desk:
        desk.follow(TASK)
        desk.work()  # and then never again
    for status in ("RUNNING", "KILLED"):
        with Publisher(settings, settings.home / "publisher.log") as process:
            process.publish(record.id)
        assert the_run(connect(settings.tracking_uri)).info.status == status
        training.attempt.lock.close()  # as the kernel does when a process dies


def test_a_training_that_goes_on_is_shown_so_though_another_command_took_it_for_killed(settings: Settings) -> None:
    """A resumed one has told steps before its worker holds the lock; or its store is not that command's."""
    training = Training(Path(settings.store))
    tracker = Tracker.of(settings)
    with Desk(training.store, tracker) as desk:
        desk.follow(TASK)
        for step, status in enumerate(("KILLED", "RUNNING"), start=1):
            training.steps(step)
            desk._due = 0.0
            desk.work()
            if status == "KILLED":
                tracker.end_abandoned([STAGES], lambda tags: tags[KEY_TAG] == STAGE.key)
            assert the_run(connect(settings.tracking_uri)).info.status == status
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
