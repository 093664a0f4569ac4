"""Reaching MLflow: quietly, safely when two processes create its database at once, and checked before work.

mlflow takes over a second to import and reads its environment while it is imported, so this module imports it inside
`load_mlflow` alone, after the environment is set. No torch comes with it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy

from ablab.errors import InputError, RunError
from ablab.settings import redact, secrets_of

QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment of every process that imports mlflow; what the user has set stays."""

CHECK_SECONDS = 5
CHECKED_TAG = "ablab.checked"  # never written: who is let remove a tag that is not there may write
REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")
SERVERS = ("http", "https", "databricks")
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user who may write there"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def load_mlflow() -> Any:
    """The mlflow module, imported quietly: no telemetry, no progress bars, nothing on standard output."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):  # alembic tells every migration when the tables are made
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    return mlflow


def scheme(uri: str) -> str:
    """The kind of a tracking URI without its driver: sqlite, postgresql, http, ..."""
    return "databricks" if uri == "databricks" else uri[: max(uri.find("://"), 0)].partition("+")[0].lower()


def is_server(uri: str) -> bool:
    """True when the URI names a tracking server, which keeps artifacts itself; a database does not."""
    return scheme(uri) in SERVERS


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite URI; None for every other kind."""
    if scheme(uri) != "sqlite":
        return None
    database = sqlalchemy.make_url(uri).database
    return Path(database) if database else None


def connect(uri: str) -> Any:
    """An `MlflowClient` for the URI. Creates an SQLite database (1 to 3 s) or its tables where they are missing."""
    mlflow = load_mlflow()
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        _create(mlflow, uri, path)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(mlflow: Any, uri: str, path: Path) -> None:
    """A new SQLite database gets its name when it is whole: MLflow cannot go on with half of its tables, which a kill
    would leave. To be called alone on it (`exclusive`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".new")
    for left in (half, half.with_name(half.name + "-journal")):
        left.unlink(missing_ok=True)
    made = sqlalchemy.make_url(uri).set(database=str(half)).render_as_string(hide_password=False)
    mlflow.MlflowClient(tracking_uri=made, registry_uri=made).search_experiments(max_results=1)
    half.replace(path)


@contextmanager
def exclusive(uri: str) -> Iterator[None]:
    """One process at a time on an SQLite database (`<file>.lock` beside it): two would create its tables twice.

    A server and a shared database arrange this themselves; nothing is locked for them.
    """
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
        yield


@contextmanager
def failing_as_run_error(uri: str) -> Iterator[None]:
    """MLflow found unusable during a run is a `RunError`: nothing is lost, since MLflow is only a projection."""
    mlflow = load_mlflow()
    try:
        yield
    except (mlflow.MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        if isinstance(error, mlflow.MlflowException) and _is_refusal(error):
            raise RunError(
                f"MLflow at {redact(uri)} refuses to be written by {_user()}: {redact_in(str(error), uri)}",
                f"Results are safe in the store; {LOGIN}, and run `ablab publish`.",
            ) from error
        raise RunError(
            f"MLflow at {redact(uri)} failed: {redact_in(str(error), uri)}",
            "Results are safe in the store; run `ablab publish` when MLflow works again.",
        ) from error


def created_once(create: Callable[[], Any]) -> Any | None:
    """What `create` returns, or None when it exists already: made before, or by another process just now."""
    return _unless("RESOURCE_ALREADY_EXISTS", create)


def _unless(code: str, request: Callable[[], Any]) -> Any | None:
    """What the request returns, or None where MLflow answers with that error."""
    mlflow = load_mlflow()
    try:
        return request()
    except mlflow.MlflowException as error:
        if error.error_code != code:
            raise
        return None


def check(uri: str, experiments: Collection[str] = (), models: Collection[str] = ()) -> None:
    """Raises `InputError` (redacted URI, cause, remedy) when MLflow cannot be used. Takes a few seconds at most.

    experiments, models: names; of a server, those that are there must be writable. Nothing is written to find out, but
    where a server does not say whether a model is there: then it is registered now, without a version.
    """
    kind = scheme(uri)
    if kind not in (*SERVERS, *DATABASES):
        known = ", ".join(f"{name}://" for name in (*SERVERS[:2], *DATABASES))
        raise InputError(
            f"MLFLOW_TRACKING_URI={redact(uri)!r} must be a tracking server or a database ({known}); "
            "unset it to use the built-in SQLite database"
        )
    path = sqlite_path(uri)
    if kind in SERVERS:
        cause = _server_fault(uri, experiments, models)
    elif path is not None:
        cause = _sqlite_fault(path) or (_database_fault(uri) if path.exists() else None)
    else:
        cause = _database_fault(uri)
    if cause:
        raise InputError(
            f"MLFLOW_TRACKING_URI={redact(uri)} cannot be used: {redact_in(cause, uri)}; "
            "correct it, or unset it to use the built-in SQLite database"
        )


def artifact_locations(uri: str, experiments: Collection[str]) -> dict[str, str]:
    """Where a database that was checked keeps the artifacts of those experiments that it knows, by name."""
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return {}
    table = sqlalchemy.table("experiments", sqlalchemy.column("name"), sqlalchemy.column("artifact_location"))
    engine = sqlalchemy.create_engine(uri)
    try:
        if not sqlalchemy.inspect(engine).has_table("experiments"):
            return {}
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.select(table).where(table.c.name.in_(experiments)))
            return {row.name: row.artifact_location for row in rows}
    finally:
        engine.dispose()


def redact_in(text: str, uri: str) -> str:
    """`text`, first line, without the passwords that the URI holds."""
    line = (text.strip().splitlines() or [""])[0].replace(uri, redact(uri))
    for secret in secrets_of(uri):
        line = line.replace(secret, "***")
    return line


def _sqlite_fault(path: Path) -> str | None:
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        usable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        return None if usable else f"the folder {folder} cannot be written"
    if not os.access(path, os.R_OK | os.W_OK):
        return "the file cannot be read and written"
    try:
        # rw, not ro: what a killed writer left half done is rolled back by whoever opens the file next
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        return f"{error} (delete the file: `ablab publish` rebuilds it)"
    return None


def _database_fault(uri: str) -> str | None:
    timeout = {} if scheme(uri) in ("sqlite", "mssql") else {"connect_timeout": CHECK_SECONDS}
    try:
        engine = sqlalchemy.create_engine(uri, connect_args=timeout)
    except ValueError:  # whose words may hold a part of the password
        return "it is not a URL"
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        return f"{error}"
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    except sqlalchemy.exc.SQLAlchemyError as error:
        return f"{error}"
    finally:
        engine.dispose()
    if "alembic_version" in tables and "experiments" not in tables:
        return "the database belongs to another program (both would use the table alembic_version); give MLflow its own"
    return None


def _server_fault(uri: str, experiments: Collection[str], models: Collection[str]) -> str | None:
    try:
        urlsplit(uri).port  # noqa: B018 (raises where the port or the host is none)
    except ValueError:  # whose words may hold a part of the password
        return "it is not a URL"
    mlflow = load_mlflow()
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(CHECK_SECONDS)}
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)  # mlflow reads them at every request and has no other way to be told
    refused = []
    try:
        client = connect(uri)
        for asked, request in _requests(client, experiments, models):
            try:
                request()
            except mlflow.MlflowException as error:
                if not _is_refusal(error):
                    return str(error)
                refused.append(asked)
                if "error code 401" in str(error):  # nobody whom the server knows: it refuses everything
                    break
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return f"the server refuses {', '.join(refused)} to {_user()}; {LOGIN}" if refused else None


def _requests(
    client: Any, experiments: Collection[str], models: Collection[str]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """What a server is asked, in words and as a call."""
    yield "the list of experiments", lambda: client.search_experiments(max_results=1)
    yield from ((f"experiment {name}", partial(_try_experiment, client, name)) for name in experiments)
    yield from ((f"registered model {name}", partial(_try_model, client, name)) for name in models)


def _try_experiment(client: Any, name: str) -> None:
    """Raises what the server says where an experiment is there and may not be written."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        _unless("RESOURCE_DOES_NOT_EXIST", lambda: client.delete_experiment_tag(found.experiment_id, CHECKED_TAG))


def _try_model(client: Any, name: str) -> None:
    """The same of a registered model. One that may not even be read may be absent: then registering it is allowed."""
    mlflow = load_mlflow()
    try:
        there = _unless("RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model(name))
    except mlflow.MlflowException as error:
        if not _is_refusal(error) or created_once(lambda: client.create_registered_model(name)) is None:
            raise
        return
    if there is not None:
        client.delete_registered_model_tag(name, CHECKED_TAG)


def _is_refusal(error: Any) -> bool:
    """True where a server wants another user."""
    return error.error_code in REFUSALS or any(f"error code {status}" in str(error) for status in (401, 403))


def _user() -> str:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return f"the user {user!r}" if user else "a user without a name"
