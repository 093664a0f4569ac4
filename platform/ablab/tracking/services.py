"""Servers that a command runs beside itself: their ports are checked together, and none outlives the command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from ablab.errors import InputError, RunError
from ablab.tracking import guard

START_SECONDS = 90.0
_LOCAL = build_opener(ProxyHandler({}))  # a proxy of the user's is not for servers on this machine


@dataclass(frozen=True)
class Service:
    """A server that can be started, and where it answers."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """Beside that of this process."""
    host: str
    port: int
    option: str
    """What sets its port: `--port`."""
    health: str
    """A page that answers once it is up."""
    log: Path

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class Server:
    """A service that was started; a context manager that stops it.

    A guard (`guard.py`) runs it and ends it when this process is gone, however it ended.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.url, self.log = service.url, service.log
        with service.log.open("wb") as output:
            self.guard = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, *service.command],
                env={**os.environ, **service.environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process alone
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and wait for it, 10 s at most. Safe to call again."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        self.guard.wait()

    def wait_until_up(self, told: threading.Event) -> None:
        """Returns when it answers or `told`. Raises `RunError` with the end of its log when it does not come up."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not told.is_set():
            self.raise_if_ended()
            try:
                with _LOCAL.open(self.url + self.service.health, timeout=2):
                    return
            except (URLError, OSError):
                told.wait(0.1)
        if not told.is_set():
            raise RunError(f"{self.service.name} did not answer within {START_SECONDS:.0f} s: {self._end_of_log()}")

    def raise_if_ended(self) -> None:
        if self.guard.poll() is not None:
            raise RunError(f"{self.service.name} ended with {self.guard.returncode}: {self._end_of_log()}")

    def _end_of_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2_000:]


def check_ports(services: Sequence[Service]) -> None:
    """Raises `InputError` with every port that is none, is in use, or is wanted twice, each with a free one."""
    wanted = {service.port for service in services}
    faults, seen = [], set[int]()
    for service in services:
        said = f"{service.option} {service.port} for {service.name}"
        if not 1 <= service.port <= 65_535:
            faults.append(f"{said}: must be from 1 to 65535")
            continue
        cause = "both would use it" if service.port in seen else _port_fault(service.host, service.port)
        seen.add(service.port)
        if cause:
            free = _free_near(service.host, service.port, wanted)
            wanted.add(free)
            faults.append(f"{said} on {service.host} cannot be used ({cause}); try {service.option} {free}")
    if faults:
        raise InputError(faults)


def serve(services: Sequence[Service], ready: Callable[[], None]) -> None:
    """Serve in the foreground: `ready` is called once all answer. Returns when interrupted or told to end.

    SIGTERM and SIGHUP (a closed terminal) end it as Ctrl-C does.
    """
    told = threading.Event()  # an exception could arrive while a process is being started, and lose it
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in handled}
    try:
        with ExitStack() as running:
            servers = [running.enter_context(Server(service)) for service in services]
            for server in servers:
                server.wait_until_up(told)
            if not told.is_set():
                ready()
            while not told.wait(0.2):
                for server in servers:
                    server.raise_if_ended()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _free_near(host: str, port: int, taken: set[int]) -> int:
    """The next one above that can be remembered, else any."""
    near: Iterator[int] = (p for p in range(max(port, 1_023) + 1, min(port + 100, 65_536)) if p not in taken)
    return next((p for p in near if _port_fault(host, p) is None), 0) or free_port(host)


def _port_fault(host: str, port: int) -> str | None:
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
