"""MLflow is a projection: what goes wrong with it stops no computation and is told at the end with a remedy."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from stages_helper import execution_record, small_plan, suite_stage

from ablab.errors import RunError
from ablab.runner.publisher import Publisher
from ablab.settings import Settings
from ablab.store import Store
from ablab.store.executions import write_execution


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        project=tmp_path,
        home=tmp_path / "home",
        store=str(tmp_path / "store"),
        registry_url="",
        data=tmp_path,
        tracking_uri=f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}",
        artifacts=tmp_path / "home" / "mlartifacts",
    )


def test_a_publisher_that_died_meanwhile_is_started_again_for_the_end(settings: Settings) -> None:
    """The stage that it was to publish is gone from the store; another execution's record is damaged."""
    store = Store(Path(settings.store))
    record = execution_record(status="failed", finished_at="2025-11-22T10:00:01+00:00")  # before its first stage
    write_execution(store.root, record)
    (store.root / "executions" / "other.json").write_text("damaged")
    gone = small_plan(store, suite_stage()).stages[suite_stage().key]
    with Publisher(settings, settings.home / "publisher.log") as publisher:
        publisher.stage_done(gone)
        process = publisher._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        while not process.ended:
            time.sleep(0.01)
        publisher.stage_done(gone)  # which nobody hears
        publisher.publish(record.id)
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM experiments WHERE name = 'nothing'").fetchone() == (1,)


def test_a_stage_that_is_gone_from_the_store_keeps_nothing_from_being_published(settings: Settings) -> None:
    store = Store(Path(settings.store))
    record = execution_record(status="failed", finished_at="2025-11-22T10:00:01+00:00")
    write_execution(store.root, record)
    with Publisher(settings, settings.home / "publisher.log") as publisher:
        publisher.stage_done(small_plan(store, suite_stage()).stages[suite_stage().key])
        publisher.publish(record.id)


def test_what_cannot_be_published_is_told_with_the_cause_and_the_remedy(settings: Settings) -> None:
    with (
        Publisher(settings, settings.home / "publisher.log") as publisher,
        pytest.raises(RunError, match=r"publishing to MLflow failed: .*not the record(.|\n)*ablab publish"),
    ):
        publisher.publish("0" * 32)
