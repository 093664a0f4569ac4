from __future__ import annotations

import base64
import dataclasses
import json
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from process_helper import alive, below, wait_until

from ablab.errors import InputError, RunError
from ablab.settings import Settings
from ablab.tracking import ExecutionView, Server, Service, Tracker, check_ports, serve, start_server
from ablab.tracking.services import free_port


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


def test_the_prepared_views_are_small_and_name_what_they_draw(
    server: Server, tmp_path: Path, make_execution: Callable[..., ExecutionView]
) -> None:
    published = Tracker(server.url, tmp_path).publish_execution(make_execution())
    experiment = rest(f"{server.url}/api/2.0/mlflow/experiments/get?experiment_id={published.experiment_id}")
    tags = {tag["key"]: tag["value"] for tag in experiment["experiment"]["tags"]}
    views = {name.rpartition("-")[2]: value for name, value in tags.items() if "sharedViewState" in name}
    assert set(views) == {"scores", "spread", "learning", "factors", "differences", "table"}
    assert max(map(len, views.values())) < 20_000
    states = {name: state_of(value) for name, value in views.items()}
    assert {state["orderByKey"] for state in states.values()} == {"metrics.`reasoning`"}
    shown = [card["metricKey"] for card in states["scores"]["compareRunCharts"] if not card["deleted"]]
    assert shown == ["reasoning", "perplexity"]
    assert "params.`mixture.share`" in states["table"]["selectedColumns"]
    assert "params.`schedule.steps`" not in states["table"]["selectedColumns"]  # the same in every arm
    note = tags["mlflow.note.content"].splitlines()
    assert note[0] == "Contrast: inconclusive."
    assert f"(#/experiments/{published.experiment_id}/runs?viewStateShareKey=ablab-scores" in note[2]


def state_of(value: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))))


def service(name: str, port: int, home: Path, option: str) -> Service:
    """A server of nothing, for its port."""
    return Service(name, ["false"], {}, "127.0.0.1", port, option, "/", home / f"{name}.log")


def test_all_ports_in_use_are_refused_at_once_and_free_ones_named(tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for taken in (one, other):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        first, second = (taken.getsockname()[1] for taken in (one, other))
        with pytest.raises(InputError) as caught:
            check_ports([service("a", first, tmp_path, "--port"), service("b", second, tmp_path, "--studies-port")])
    assert [fault.partition(" (")[0] for fault in caught.value.faults] == [
        f"--port {first} for a on 127.0.0.1 cannot be used",
        f"--studies-port {second} for b on 127.0.0.1 cannot be used",
    ]
    proposed = [int(fault.split()[-1]) for fault in caught.value.faults]
    assert len({first, second, *proposed}) == 4
    check_ports([service("a", proposed[0], tmp_path, "--port"), service("b", proposed[1], tmp_path, "--studies-port")])


def test_a_port_that_is_none_or_wanted_twice_is_refused(tmp_path: Path) -> None:
    free = free_port()
    with pytest.raises(InputError) as caught:
        check_ports([service(name, port, tmp_path, "--port") for name, port in (("a", free), ("b", free), ("c", 0))])
    assert "both would use it" in caught.value.faults[0]
    assert "must be from 1 to 65535" in caught.value.faults[1]


def test_a_tracking_uri_that_is_a_server_is_not_served_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"http://me:\*\*\*@host is a server already"):
        start_server(settings_at(tmp_path, "http://me:secret@host"), free_port())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_a_command_ends_its_servers_end_with_all_their_processes(
    number: signal.Signals, tmp_path: Path
) -> None:
    server = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "from http.server import *; ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), BaseHTTPRequestHandler)"
        ".serve_forever()"
    )
    ports = (free_port(), free_port())
    code = (
        "import sys; from pathlib import Path; from ablab.tracking import Service, serve\n"
        "serve([Service('s', [sys.executable, '-c', sys.argv[1], port], {}, '127.0.0.1', int(port), '--port', '/', "
        "Path(sys.argv[2]) / port) for port in sys.argv[3:]], lambda: print('ready', flush=True))"
    )
    command = [sys.executable, "-c", code, server, str(tmp_path), *map(str, ports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        wait_until(lambda: len(below(served.pid)) >= 6)  # of each: its guard, the server, a process of the server
        started = below(served.pid)
        served.send_signal(number)
        assert served.wait(timeout=20) == (0 if number != signal.SIGKILL else -number)
    wait_until(lambda: not any(map(alive, started)))


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('no such table'); sys.exit(3)"
    failing = Service("s", [sys.executable, "-c", code], {}, "127.0.0.1", free_port(), "--port", "/", tmp_path / "log")
    with pytest.raises(RunError, match=r"s ended with 3: no such table"):
        serve([failing], lambda: None)
