from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from ablab.errors import InputError
from ablab.settings import Settings
from ablab.tracking import ExecutionView, Server, Tracker, start_server, view_url


def rest(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=20) as answer:
        return json.load(answer)


def settings_at(home: Path, uri: str) -> Settings:
    return Settings(home, home, str(home), f"sqlite:///{home}/r.db", home, uri, home / "mlartifacts")


def test_an_execution_published_over_http_is_read_back_over_rest(
    server: Server, tmp_path: Path, make_execution: Callable[..., ExecutionView]
) -> None:
    tracker = Tracker(server.url, tmp_path)
    tracker.check()
    view = make_execution()
    published = tracker.publish_execution(view)
    assert tracker.publish_execution(view) == published
    api = f"{server.url}/api/2.0/mlflow"
    found = rest(f"{api}/runs/search", {"experiment_ids": [published.experiment_id]})["runs"]
    assert {run["info"]["run_name"] for run in found} == {"demo@1 tiny", "real-only · t42-g1", "contrastive · t42-g1"}
    artifacts = rest(f"{api}/artifacts/list?run_id={published.run_id}")
    assert [file["path"] for file in artifacts["files"]] == ["comparison.json"]
    with urlopen(f"{server.url}/get-artifact?run_id={published.run_id}&path=comparison.json") as answer:
        assert answer.read() == view.artifacts["comparison.json"].read_bytes()
    alias = rest(f"{api}/registered-models/alias?name=ablab-demo-tiny-contrastive&alias=t42-g1")
    assert alias["model_version"]["status"] == "READY"
    assert list(tmp_path.iterdir()) == []


def test_artifacts_of_the_embedded_database_are_served(
    server: Server, make_execution: Callable[..., ExecutionView]
) -> None:
    home = server.log.parent
    published = Tracker(f"sqlite:///{home}/mlflow.db", home / "mlartifacts").publish_execution(
        dataclasses.replace(make_execution("embedded"), ablation="embedded", stages=(), arms=())
    )
    listed = rest(f"{server.url}/api/2.0/mlflow/artifacts/list?run_id={published.run_id}")
    assert [file["path"] for file in listed["files"]] == ["comparison.json"]


def test_the_prepared_view_is_small_and_names_the_headline_metrics(
    server: Server, tmp_path: Path, make_execution: Callable[..., ExecutionView]
) -> None:
    published = Tracker(server.url, tmp_path).publish_execution(make_execution())
    experiment = rest(f"{server.url}/api/2.0/mlflow/experiments/get?experiment_id={published.experiment_id}")
    tags = {tag["key"]: tag["value"] for tag in experiment["experiment"]["tags"]}
    value = tags["mlflow.sharedViewState.ablab"]
    assert len(value) < 20_000
    state = json.loads(zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))))
    assert [card["metricKey"] for card in state["compareRunCharts"]] == ["reasoning", "perplexity"]
    assert state["orderByKey"] == "metrics.`reasoning`"
    assert "params.`mixture.share`" in state["selectedColumns"]
    assert "params.`schedule.steps`" not in state["selectedColumns"]  # the same in every arm
    assert view_url(server.url + "/", "7").startswith(f"{server.url}/#/experiments/7/runs?viewStateShareKey=ablab&")


def test_a_port_in_use_is_refused_and_a_free_one_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} on 127.0.0.1 .* try --port \d+"):
            start_server(settings_at(tmp_path, f"sqlite:///{tmp_path}/m.db"), port)
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_uri_that_is_a_server_is_not_served_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"http://me:\*\*\*@host is a server already"):
        start_server(settings_at(tmp_path, "http://me:secret@host"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_served_ui_that_is_told_to_end_leaves_no_process(
    number: signal.Signals, tmp_path: Path, empty_database: Path
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    code = (
        "import sys; from pathlib import Path; from ablab.settings import load_settings\n"
        "from ablab.tracking import serve; from ablab.tracking.server import free_port\n"
        "serve(load_settings(), free_port(), '127.0.0.1', print)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment |= {"ABLAB_HOME": str(tmp_path), "ABLAB_PROJECT": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as served:
        children = wait_for_children(served.pid)
        served.send_signal(number)
        assert served.wait(timeout=20) == 0
    assert children
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def wait_for_children(pid: int) -> list[int]:
    """Ids of the processes that `pid` has started, as soon as there are any."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found:
            return [int(child) for child in found]
        time.sleep(0.05)
    raise AssertionError("the server was not started within 30 s")
