"""Where trials are kept: an SQLite file of this machine, or PostgreSQL for workers on several. Imports no optuna."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from ablab.errors import InputError
from ablab.registry.database import checked_url, shown_url
from ablab.settings import secrets_of
from ablab.store.filesystems import MOUNTS, NETWORKS, file_system

VARIABLE = "ABLAB_STUDY_URL"
BUSY_S = 30
_ADVISORY_LOCK = 0x6162737475  # "abstu"


@dataclass(frozen=True)
class Place:
    """A checked database for trials."""

    url: str
    shown: str
    path: Path | None
    """The file, of SQLite."""

    def engine_options(self) -> dict[str, Any]:
        """Connections are not kept: safe after a database came back."""
        if self.path is not None:
            return {"connect_args": {"timeout": BUSY_S}, "poolclass": NullPool}
        return {"connect_args": {"connect_timeout": BUSY_S // 3, "prepare_threshold": None}, "poolclass": NullPool}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One worker at a time: a lock of the kernel beside the file, or PostgreSQL's; both end with the process."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        with self._engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield  # closing the connection gives it back

    def cause(self, error: BaseException) -> str:
        """The driver's own words on one line, without a password."""
        inner = error.__cause__ if error.__cause__ is not None else error
        words = " ".join(str(getattr(inner, "orig", None) or inner).split())
        for secret in secrets_of(self.url):
            words = words.replace(secret, "***")
        return words

    @cached_property
    def _engine(self) -> sqlalchemy.Engine:
        return create_engine(self.url, **self.engine_options())


def study_place(url: str, mounts: Path = MOUNTS) -> Place:
    """The place that a URL names. Raises InputError: not usable, on a network, another program's, unreachable."""
    parsed = checked_url(url, VARIABLE, "studies.db")
    shown = shown_url(url)
    path = Path(parsed.database or "").resolve() if parsed.drivername == "sqlite" else None
    place = Place(parsed.render_as_string(hide_password=False), shown, path)
    if path is not None:
        _check_file(path, shown, mounts)
    if path is None or path.exists():
        _check_tables(place)
    return place


def _check_file(path: Path, shown: str, mounts: Path) -> None:
    folder = next(parent for parent in path.parents if parent.exists())
    kind = file_system(folder, mounts)
    if kind in NETWORKS:
        raise InputError(
            f"{VARIABLE}={shown} lies on a network file system ({kind}), where SQLite loses trials of workers that "
            "write at once; use a local disk, or PostgreSQL for workers on several machines"
        )
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)) or path.is_dir():
        raise InputError(f"{VARIABLE}={shown} cannot be written; choose another place with ABLAB_HOME or {VARIABLE}")


def _check_tables(place: Place) -> None:
    """It can be reached, and is no other program's."""
    try:
        engine = create_engine(place.url, **place.engine_options())
        try:
            tables = sqlalchemy.inspect(engine).get_table_names()
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        raise InputError(
            f"cannot open the study database {place.shown}: {place.cause(error)}; check that it is there, that it may "
            f"be written and that {VARIABLE} names it"
        ) from error
    except ModuleNotFoundError as error:
        raise InputError(
            "a study database in PostgreSQL needs psycopg, which is not installed; pip install 'ablab[postgres]'"
        ) from error
    if "alembic_version" in tables and "studies" not in tables:
        raise InputError(
            f"the database {place.shown} belongs to another program (ablab's registry and MLflow need databases of "
            f"their own); set {VARIABLE} to another one"
        )
