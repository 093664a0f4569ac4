"""A remote MLflow with users (basic auth) and proxied artifacts."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.server.auth.client import AuthServiceClient

from ablab.errors import InputError, RunError
from ablab.tracking import ExecutionView, Server, Service, Tracker
from ablab.tracking.connection import connect
from ablab.tracking.services import free_port

ADMIN, PASSWORD = "admin", "a-long-admin-password"
MODELS = ("ablab-demo-tiny-real-only", "ablab-demo-tiny-contrastive")


@contextmanager
def serving(home: Path, permission: str) -> Iterator[Server]:
    """A server on which users have that permission on what others have made."""
    (home / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = {permission}\n"
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


def login(patch: pytest.MonkeyPatch, name: str, password: str = "") -> None:
    patch.setenv("MLFLOW_TRACKING_USERNAME", name)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password or f"a-long-{name}-password")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, make_execution: Callable[..., ExecutionView]) -> Iterator[Server]:
    """A server on which everyone may read; its administrator has published an execution with its models."""
    with serving(tmp_path_factory.mktemp("guarded"), "READ") as server, pytest.MonkeyPatch.context() as patch:
        login(patch, ADMIN, PASSWORD)
        tracker = Tracker(server.url, tmp_path_factory.mktemp("unused"))
        tracker.check("demo", models=MODELS)
        tracker.publish_execution(make_execution())
        tracker.check("demo", models=MODELS)
        yield server


@pytest.fixture
def as_user(guarded: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Become a user, who is made if need be; his password is made of his name if none is given."""

    def become(name: str, password: str = "", new: bool = False) -> None:
        if new:
            login(monkeypatch, ADMIN, PASSWORD)
            AuthServiceClient(guarded.url).create_user(name, f"a-long-{name}-password")
        login(monkeypatch, name, password)

    return become


def refusal(url: str, folder: Path, *ablations: str, models: tuple[str, ...] = ()) -> str:
    """What is said before a run to someone who may not write."""
    with pytest.raises(InputError) as caught:
        Tracker(url, folder).check(*ablations, models=models)
    (fault,) = caught.value.faults
    assert "password" not in fault.replace("PASSWORD", "")
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in fault
    assert f"MLFLOW_TRACKING_URI={url}" in fault
    return fault


def test_a_user_who_may_write_publishes_through_the_proxy(
    guarded: Server, as_user: Callable[..., None], make_execution: Callable[..., ExecutionView]
) -> None:
    as_user(ADMIN, PASSWORD)
    view, client = make_execution(), connect(guarded.url)
    uploaded = list((guarded.log.parent / "artifacts").rglob("comparison.json"))
    assert [file.read_bytes() for file in uploaded] == [view.artifacts["comparison.json"].read_bytes()]
    for arm in view.arms:
        assert arm.model is not None
        version = client.get_model_version_by_alias(arm.model.name, arm.model.alias)
        logged = version.tags["ablab.model"]
        weights = list((guarded.log.parent / "artifacts").glob(f"**/{logged}/**/model.safetensors"))
        (trained,) = [stage.directory for stage in view.stages if stage.key == arm.model.train]
        assert [one.read_bytes() for one in weights] == [one.read_bytes() for one in trained.rglob("model.safetensors")]


def test_who_may_not_write_is_told_before_anything_is_computed_and_no_password_is_shown(
    guarded: Server, as_user: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user("reader", new=True)
    told = refusal(guarded.url, tmp_path, "demo", models=("one-of-my-own", *MODELS))
    refused = ", ".join(["experiment ablab/stages", "experiment demo", *(f"registered model {m}" for m in MODELS)])
    assert f"the server refuses {refused} to the user 'reader'" in told
    Tracker(guarded.url, tmp_path).check("demo", writing=False)
    as_user("reader", "a-wrong-password")
    assert "to the user 'reader'" in refusal(guarded.url, tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    assert "to a user without a name" in refusal(guarded.url, tmp_path)


def test_a_check_leaves_no_trace(guarded: Server, as_user: Callable[..., None], tmp_path: Path) -> None:
    as_user(ADMIN, PASSWORD)
    client = connect(guarded.url)

    def state() -> object:
        experiments = {(one.name, one.last_update_time, str(one.tags)) for one in client.search_experiments()}
        models = {(one.name, one.last_updated_timestamp, str(one.tags)) for one in client.search_registered_models()}
        return experiments, models

    before = state()
    Tracker(guarded.url, tmp_path).check("demo", "another", models=(*MODELS, "another-model"))
    assert state() == before


def test_who_may_write_runs_but_not_models_is_told_before_a_run_and_what_to_do_after_one(
    guarded: Server, as_user: Callable[..., None], make_execution: Callable[..., ExecutionView], tmp_path: Path
) -> None:
    as_user("writer", new=True)
    as_user(ADMIN, PASSWORD)
    for name in ("ablab/stages", "demo"):
        experiment_id = connect(guarded.url).get_experiment_by_name(name).experiment_id
        AuthServiceClient(guarded.url).grant_user_permission("writer", "experiment", experiment_id, "EDIT")
    as_user("writer")
    assert f"refuses registered model {MODELS[1]} to" in refusal(guarded.url, tmp_path, "demo", models=MODELS[1:])
    view = make_execution("e2")
    arms = [
        dataclasses.replace(arm, model=dataclasses.replace(arm.model, alias="t43-g2"))
        for arm in view.arms
        if arm.model is not None
    ]
    with pytest.raises(RunError, match="refuses to be written by the user 'writer'") as caught:
        Tracker(guarded.url, tmp_path).publish_execution(dataclasses.replace(view, arms=tuple(arms)))
    assert "password" not in str(caught.value).replace("PASSWORD", "")
    assert "Results are safe in the store" in str(caught.value) and "ablab publish" in str(caught.value)


def test_where_a_server_does_not_say_what_is_there_a_model_is_registered_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, "NO_PERMISSIONS") as server:
        login(monkeypatch, ADMIN, PASSWORD)
        client = connect(server.url)
        client.create_registered_model("theirs")
        client.create_experiment("their-ablation")
        AuthServiceClient(server.url).create_user("newcomer", "a-long-newcomer-password")
        login(monkeypatch, "newcomer")
        for _ in range(2):
            Tracker(server.url, tmp_path).check("mine", models=("mine",))
        told = refusal(server.url, tmp_path, "their-ablation", models=("theirs",))
        assert "refuses experiment their-ablation, registered model theirs to" in told
        login(monkeypatch, ADMIN, PASSWORD)
        assert [(one.name, one.latest_versions) for one in client.search_registered_models()] == [
            ("mine", []),
            ("theirs", []),
        ]
