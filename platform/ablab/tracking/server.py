"""`ablab ui`: an MLflow server of our own over the embedded database, started and stopped without orphans.

It runs in a session of its own, so that one SIGTERM to its group reaches every process of it, without MLflow's job
runner (seven more processes, a gigabyte). Measured: 9 to 15 s until it answers, 535 MB.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from ablab.errors import InputError, RunError
from ablab.settings import Settings, redact
from ablab.tracking.connection import QUIET, connect, exclusive, is_server

START_SECONDS, STOP_SECONDS = 90.0, 10.0


class Server:
    """A running MLflow server; a context manager that stops it."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM to the whole group, SIGKILL to what is left after 10 s. Safe to call again."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _group_lives(self.process) and time.monotonic() < deadline:
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_server(
    settings: Settings, port: int = 5000, host: str = "127.0.0.1", told: threading.Event | None = None
) -> Server:
    """Serve the settings' MLflow database and artifacts at `http://host:port`; returns when it answers or `told`.

    Raises `InputError` when the settings name a server (open that one) or the port is in use (names a free one),
    `RunError` with the end of its log when it does not come up.
    """
    if is_server(settings.tracking_uri):
        raise InputError(f"MLFLOW_TRACKING_URI={redact(settings.tracking_uri)} is a server already; open it instead")
    _claim(port, host)
    try:
        settings.artifacts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{error}; set ABLAB_HOME to a folder that can be written") from error
    with exclusive(settings.tracking_uri):
        connect(settings.tracking_uri)  # so that the tables are there before the server's processes look for them
    log = settings.home / "mlflow-server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(port, host),
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, f"http://{_bracketed(host)}:{port}", log)
    try:
        _await(server, told or threading.Event())
    except BaseException:
        server.stop()
        raise
    return server


def serve(settings: Settings, port: int, host: str, ready: Callable[[str], None]) -> None:
    """Serve in the foreground: `ready` is given the URL once it answers. Returns when interrupted or told to end.

    SIGTERM and SIGHUP (a closed terminal) end it as Ctrl-C does, so that no server outlives the command.
    """
    told = threading.Event()  # an exception could arrive while the process is being started, and lose it
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in handled}
    try:
        with start_server(settings, port, host, told) as server:
            if not told.is_set():
                ready(server.url)
            while not told.wait(0.2):
                _raise_if_ended(server)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _command(port: int, host: str) -> list[str]:
    return [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]


def _environment(settings: Settings) -> dict[str, str]:
    """URLs go through the environment: a command line would show their passwords to everyone on the machine."""
    return (
        QUIET
        | dict(os.environ)
        | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
            "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts.absolute().as_uri(),
        }
    )


def _claim(port: int, host: str) -> None:
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise InputError(
            f"port {port} on {host} cannot be used ({error.strerror}); try --port {free_port()}"
        ) from error


def _await(server: Server, told: threading.Event) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not told.is_set():
        _raise_if_ended(server)
        try:
            with urlopen(f"{server.url}/health", timeout=2):
                return
        except (URLError, OSError):
            told.wait(0.1)
    if not told.is_set():
        raise RunError(f"MLflow's server did not answer within {START_SECONDS:.0f} s: {_end_of(server.log)}")


def _raise_if_ended(server: Server) -> None:
    if server.process.poll() is not None:
        raise RunError(f"MLflow's server ended with {server.process.returncode}: {_end_of(server.log)}")


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2_000:]


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # a dead leader that nobody waited for would count as alive
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
