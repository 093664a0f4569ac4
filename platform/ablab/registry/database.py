"""Connections to the registry database, and the one place where its failures become errors of ablab.

Every transaction opens a connection of its own and closes it: safe in threads and after a fork, and a database
that comes back is used again. SQLite files are never created by a connection, so a deleted one is noticed.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from ablab.errors import InputError, RunError
from ablab.settings import redact

BUSY_SECONDS = 30.0
"""How long a transaction waits for another process's. SQLite: busy_timeout; PostgreSQL: to connect, a third."""

_FULL = "Finished stages are safe in the store. Free space, then run the same command: it goes on where it stopped."
_RESUME = (
    "Finished stages are safe in the store. Make the database reachable again and run the same command: it goes on "
    "where it stopped. `ablab reindex` rebuilds a lost registry from the files."
)


class Database:
    """One registry database. `read` and `write` are transactions; failures in them become `RunError`."""

    def __init__(self, url: str) -> None:
        self.shown = shown_url(url)
        self._url = checked_url(url, "ABLAB_REGISTRY_URL", "registry.db")
        self.path = Path(self._url.database or "").resolve() if self._url.drivername == "sqlite" else None
        self.engine = _sqlite_engine(self.path) if self.path else _postgres_engine(self._url)
        self._immediate = self.engine.execution_options(immediate=True)
        self._idle: sqlite3.Connection | None = None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that changes nothing."""
        with self._transaction(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that takes SQLite's write lock at once, so it never fails half way for want of it."""
        with self._transaction(self._immediate) as session:
            yield session

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DBAPIError as error:
            if not is_lost(error):
                raise
            remedy = _FULL if "disk is full" in cause(error) else _RESUME
            raise RunError(f"lost the registry database {self.shown}: {cause(error)}", remedy) from error

    def keep_open(self) -> None:
        """Hold an idle connection to a SQLite file until `close`.

        The last connection that closes copies the write-ahead log back and waits for the disk: with none but short
        transactions that would be each of them (measured: 20 ms instead of 1).
        """
        if self.path is not None:
            self._idle = connect_sqlite(self.path, "rw")
            self._idle.execute("PRAGMA schema_version").fetchall()  # only a connection that has read counts

    def close(self) -> None:
        if self._idle is not None:
            self._idle.close()
        self.engine.dispose()


def is_lost(error: DBAPIError) -> bool:
    """True for a database that is gone, stopped, locked, full, replaced or damaged; False for faults of a statement."""
    if isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError:
        return True
    return isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", "") == "42P01"  # no such table


def cause(error: DBAPIError) -> str:
    """The driver's own words on one line, without a password."""
    return _without_password(" ".join(str(error.orig).split()))


def shown_url(url: str) -> str:
    """A URL fit to be printed: without passwords, also in its query."""
    return _without_password(redact(url))


def _without_password(text: str) -> str:
    return re.sub(r"(password=)[^&\s]+", r"\1***", text)


def checked_url(url: str, variable: str, file: str) -> URL:
    """The URL of an SQLite file or of PostgreSQL, with the driver that ablab uses. Raises InputError, which names the
    variable that it stands in, for any other."""
    shown = shown_url(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(
            f"{variable}={shown} is not a database URL; use sqlite:////path/to/{file} "
            "or postgresql://user:password@host/database"
        ) from error
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        if not parsed.database or parsed.database.startswith((":memory:", "file:")):
            raise InputError(
                f"{variable}={shown} must name a file, because processes share it; use sqlite:////path/to/{file}"
            )
        if parsed.query:
            raise InputError(f"{variable}={shown} takes no options after '?'; remove them")
        return parsed.set(drivername="sqlite")
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise InputError(f"{variable}={shown} must start with sqlite: or postgresql:, not {parsed.drivername}:")


def connect_sqlite(path: Path, mode: str) -> sqlite3.Connection:
    """`mode` is rw, or rwc to create the file. The driver begins no transaction by itself."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # never corrupt; a power cut may cost the last second
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _sqlite_engine(path: Path) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: connect_sqlite(path, "rw"), poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _postgres_engine(url: URL) -> Engine:
    defaults: dict[str, object] = {
        "connect_timeout": int(BUSY_SECONDS / 3),
        "keepalives_idle": 30,  # a server that vanished from the network is noticed within about a minute
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "prepare_threshold": None,  # prepared statements do not survive connection poolers
    }
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    try:
        return create_engine(url, connect_args=arguments, poolclass=NullPool)
    except ModuleNotFoundError as error:
        raise InputError(
            "a PostgreSQL registry needs psycopg, which is not installed; pip install 'ablab[postgres]'"
        ) from error
