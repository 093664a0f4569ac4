"""Bring a registry database to the tables that this ablab knows, safely when several processes open it at once."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from ablab.errors import InputError
from ablab.registry.database import Database, cause, connect_sqlite

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001",)
"""Every schema that ablab ever had, oldest first; a test holds it equal to the files in migrations/versions."""
HEAD = REVISIONS[-1]

_SMALLEST_PAGE = 512  # bytes; the size of a page of SQLite is never below
_ADVISORY_LOCK = 0x61626C6162  # "ablab": whoever holds it on a PostgreSQL server creates or migrates


def ensure_schema(database: Database) -> None:
    """Create or migrate the tables. Raises `InputError`: unreachable, no database, newer or another program's.

    A database that is up to date costs one query, and alembic is not imported.
    """
    with _failing_as_input_error(database):
        if database.path is not None:
            _ensure_sqlite(database, database.path)
            database.keep_open()
        else:
            _ensure_postgres(database)


def stored_revision(database: Database) -> str | None:
    """The schema's revision, None before the first; changes nothing. Raises `InputError` as `ensure_schema` does."""
    with _failing_as_input_error(database):
        if database.path is not None:
            _refuse_short_file(database.path, database.shown)
        with database.engine.connect() as connection:
            return _stored_revision(connection, database.shown)


@contextmanager
def _failing_as_input_error(database: Database) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        words = cause(error) if isinstance(error, DBAPIError) else str(error)
        raise InputError(
            f"cannot open the registry database {database.shown}: {words}; check that it is there, that it may be "
            "written and that ABLAB_REGISTRY_URL names it"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot create the registry database {database.shown}: {error.strerror}: {error.filename}; "
            "choose another place with ABLAB_HOME or ABLAB_REGISTRY_URL"
        ) from error


def migration_config(connection: Connection | None = None) -> Config:
    """alembic's configuration of our migrations, which lie beside this file also in an installed wheel."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _ensure_sqlite(database: Database, path: Path) -> None:
    if path.is_file():
        _refuse_short_file(path, database.shown)
        with database.engine.connect() as connection:
            if _stored_revision(connection, database.shown) == HEAD:
                return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f"{path.name}.lock")):
        with closing(connect_sqlite(path, "rwc")) as raw:  # WAL: readers do not wait for the writer
            raw.execute("PRAGMA journal_mode = WAL")
        with database.engine.execution_options(immediate=True).begin() as connection:
            _migrate(connection, database.shown)


def _refuse_short_file(path: Path, shown: str) -> None:
    """SQLite takes a file shorter than a page for an empty database and would overwrite it.

    Only its size is looked at: closing the file would drop this process's locks on it (POSIX).
    """
    if 0 < path.stat().st_size < _SMALLEST_PAGE:
        raise InputError(f"the registry {shown}: file is not a database; set ABLAB_REGISTRY_URL to another file")


def _ensure_postgres(database: Database) -> None:
    with database.engine.connect() as connection:
        if _stored_revision(connection, database.shown) == HEAD:
            return
    with database.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _migrate(connection, database.shown)


def _migrate(connection: Connection, shown: str) -> None:
    """In the caller's transaction: either every table is there afterwards or nothing has changed."""
    if _stored_revision(connection, shown) == HEAD:
        return  # another process was faster
    from alembic import command

    command.upgrade(migration_config(connection), "head")


def _stored_revision(connection: Connection, shown: str) -> str | None:
    """The schema's revision, None before the first. Raises `InputError` for one that this ablab does not know."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in REVISIONS:
        raise InputError(
            f"the database {shown} has schema {revision!r}, this ablab knows {', '.join(REVISIONS)}: it was made by a "
            "newer ablab or belongs to another program (MLflow and Optuna need databases of their own); "
            "update ablab, or set ABLAB_REGISTRY_URL to another database"
        )
    return revision


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for, then hold, an exclusive lock that the system releases when the process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
