"""A remote MLflow with users (basic auth) and proxied artifacts."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.server.auth.client import AuthServiceClient

from ablab.errors import InputError
from ablab.tracking import ExecutionView, Server, Service, Tracker
from ablab.tracking.services import free_port

ADMIN, PASSWORD = "admin", "a-long-admin-password"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two users: one who may only read, one who may do nothing."""
    home = tmp_path_factory.mktemp("guarded")
    (home / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{home}/auth.db\nadmin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--serve-artifacts"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": (home / "artifacts").as_uri(),
        "MLFLOW_AUTH_CONFIG_PATH": str(home / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-this-test",
    }
    with Server(
        Service("MLflow", command, environment, "127.0.0.1", port, "--port", "/health", home / "log")
    ) as server:
        server.wait_until_up(threading.Event())
        yield server


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def become(name: str, password: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    return become


def test_a_user_who_may_write_publishes_through_the_proxy(
    guarded: Server,
    as_user: Callable[[str, str], None],
    make_execution: Callable[..., ExecutionView],
    tmp_path: Path,
) -> None:
    as_user(ADMIN, PASSWORD)
    tracker = Tracker(guarded.url, tmp_path / "unused")
    tracker.check("demo")
    view = dataclasses.replace(make_execution(), stages=(), arms=())
    published = tracker.publish_execution(view)
    tracker.check("demo")
    uploaded = list((guarded.log.parent / "artifacts").rglob("comparison.json"))
    assert [file.read_bytes() for file in uploaded] == [view.artifacts["comparison.json"].read_bytes()]
    assert published.run_id in str(uploaded[0])
    assert not (tmp_path / "unused").exists()


def test_who_may_not_write_is_told_before_anything_is_computed_and_no_password_is_shown(
    guarded: Server,
    as_user: Callable[[str, str], None],
    make_execution: Callable[..., ExecutionView],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(ADMIN, PASSWORD)
    Tracker(guarded.url, tmp_path).publish_execution(dataclasses.replace(make_execution(), stages=(), arms=()))
    AuthServiceClient(guarded.url).create_user("reader", "a-long-reader-password")

    def refusal(url: str, *ablations: str) -> str:
        with pytest.raises(InputError) as caught:
            Tracker(url, tmp_path).check(*ablations)
        (fault,) = caught.value.faults
        assert "password" not in fault.replace("PASSWORD", "")
        assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in fault
        assert f"MLFLOW_TRACKING_URI={guarded.url}" in fault
        return fault

    as_user("reader", "a-long-reader-password")
    Tracker(guarded.url, tmp_path).check("an-ablation-of-ones-own")
    assert "refuses experiment demo to the user 'reader'" in refusal(guarded.url, "demo")
    Tracker(guarded.url, tmp_path).check("demo", writing=False)
    as_user("reader", "a-wrong-password")
    assert "to the user 'reader'" in refusal(guarded.url)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    assert "to a user without a name" in refusal(guarded.url)
