"""A real PostgreSQL server from Debian's programs: fixtures for the folders whose conftest imports them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import NullPool, create_engine, text

USER = "ablab"


@dataclass(frozen=True)
class PostgresServer:
    """Listens on a socket in its own folder only, which belongs to the user that it runs as."""

    programs: Path
    folder: Path
    account: Mapping[str, Any]
    """Arguments of `subprocess.run` that change the user: the server refuses to run as root."""

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)

    def initialise(self) -> None:
        self._run("initdb", "-D", self.data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        # output to a file: the server would keep a pipe open
        with (self.folder / f"{program}.out").open("wb") as output:
            command = [str(self.programs / program), *arguments]
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self.folder, timeout=90, **self.account)
        assert done.returncode == 0, (self.folder / f"{program}.out").read_text()


@pytest.fixture(scope="session")
def postgres_server(require: Callable[[str, str], NoReturn]) -> Iterator[PostgresServer]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not found:
        require("postgres", "the server programs are not under /usr/lib/postgresql")
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = {"user": "postgres", "group": "postgres", "extra_groups": []}
    # short (a socket's path has at most 107 bytes) and reachable for that user, which pytest's folders are not
    folder = Path(tempfile.mkdtemp(prefix="ablab-postgres-", dir="/tmp"))
    server = PostgresServer(found[-1].parent, folder, account)
    try:
        if account:
            shutil.chown(folder, account["user"], account["group"])
        server.initialise()
        server.start()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder)


@contextmanager
def database(server: PostgresServer, name: str) -> Iterator[str]:
    """The URL of an empty database, which ends with the block."""
    admin = create_engine(
        server.url("postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
    )
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE template0'))
    yield server.url(name)
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """An empty database of its own."""
    with database(postgres_server, f"test_{tmp_path.name}".lower()[:60]) as url:
        yield url
