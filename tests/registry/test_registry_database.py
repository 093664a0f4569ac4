"""A registry opens safely, fast, and with one clear error where it cannot; a lost one says what is safe."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ablab.errors import InputError, RunError
from ablab.registry.database import Database, shown_url
from ablab.registry.models import Base
from ablab.registry.process import this_process
from ablab.registry.records import NewExecution, Owner
from ablab.registry.registry import Registry, open_registry
from ablab.registry.schema import REVISIONS, migration_config

FORK = multiprocessing.get_context("fork")  # a process costs milliseconds, not the imports


def execution(name: str = "rate@1") -> NewExecution:
    return NewExecution(name, "tiny", "0" * 64, {"a": 1}, {}, {"jobs": 1}, this_process(), "0.1.0", "")


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_opening_creates_the_tables_of_the_models_and_no_others(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_registry(url).close()
    database = Database(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_the_known_revisions_are_the_migration_files() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(migration_config())
    assert tuple(one.revision for one in reversed(list(script.walk_revisions()))) == REVISIONS


def test_a_new_revision_can_be_written_from_the_template(tmp_path: Path) -> None:
    from alembic.script import ScriptDirectory

    folder = ScriptDirectory.from_config(migration_config()).dir
    script = ScriptDirectory(folder, version_locations=[str(tmp_path)])
    made = script.generate_revision("0001", "why", version_path=str(tmp_path))
    assert made is not None and made.revision == "0001"
    assert [one.revision for one in script.walk_revisions()] == ["0001"]


def test_opening_again_keeps_what_is_there_and_imports_no_alembic(url: str) -> None:
    with open_registry(url) as registry:
        known = registry.start_execution(execution())
    check = """
import sys, time
from ablab.registry.registry import open_registry

took = []
for _ in range(3):  # the best of three: other work on the machine is not what is measured
    start = time.perf_counter()
    with open_registry(sys.argv[1]) as registry:
        took.append(time.perf_counter() - start)
        assert registry.execution(sys.argv[2]).status == "running"
assert min(took) < 0.3, took
assert not {name for name in sys.modules if name.split(".")[0] in {"alembic", "mlflow", "torch"}}
"""
    subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", check, url, known], check=True, timeout=60)


def test_processes_that_open_a_new_registry_at_once_all_succeed(url: str) -> None:
    barrier = FORK.Barrier(6)

    def open_it() -> None:
        barrier.wait(timeout=60)
        open_registry(url).close()

    processes = [FORK.Process(target=open_it) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 6
    with open_registry(url) as registry:
        assert registry.executions() == []


def test_a_creation_that_was_interrupted_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.op

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "registry.db")

    with monkeypatch.context() as patched:
        patched.setattr(alembic.op, "create_index", full_disk)
        with pytest.raises(InputError, match=r"cannot create the registry database .* No space left"):
            open_registry(url)
    with open_registry(url) as registry:
        assert registry.executions() == []


def test_an_unreachable_server_is_bad_input_without_the_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError) as raised:
        open_registry(f"postgresql://anna:sesame@127.0.0.1:{port}/lab")
    message = str(raised.value)
    assert f"postgresql://anna:***@127.0.0.1:{port}/lab" in message
    assert "refused" in message and "ABLAB_REGISTRY_URL" in message and "sesame" not in message


@pytest.mark.postgres
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_opens_one_registry(postgres_url: str, scheme: str) -> None:
    with open_registry(postgres_url) as registry, open_registry(postgres_url.replace("postgresql", scheme)) as other:
        assert other.execution(registry.start_execution(execution())).status == "running"


@pytest.mark.postgres
def test_a_server_without_the_database_is_bad_input(postgres_server: Any) -> None:
    with pytest.raises(InputError, match='database "nowhere" does not exist'):
        open_registry(postgres_server.url("nowhere"))


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("registry.db", "is not a database URL"),
        ("", "is not a database URL"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("mysql://anna:sesame@host/lab", "must start with sqlite: or postgresql:"),
        ("sqlite:////tmp/registry.db?mode=ro", "takes no options"),
        ("postgresql+psycopg2://host/lab", "must start with sqlite: or postgresql:"),
        ("postgresql://anna:sesame@host:port/lab", "is not a database URL"),
    ],
)
def test_a_url_that_cannot_be_a_registry_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as raised:
        open_registry(url)
    assert "sesame" not in str(raised.value)


def test_passwords_are_never_shown() -> None:
    assert shown_url("postgresql://anna:s@same@host/lab?password=sesame&x=1") == (
        "postgresql://anna:***@host/lab?password=***&x=1"
    )


@pytest.mark.parametrize("content", [b"not a database, but a text that is long enough" * 40, b"x"])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match="file is not a database"):
        open_registry(sqlite_url(path))
    assert path.read_bytes() == content


def test_a_place_that_cannot_hold_a_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot create the registry database"):
        open_registry(sqlite_url(tmp_path / "file" / "registry.db"))
    with pytest.raises(InputError, match="cannot open the registry database"):
        open_registry(sqlite_url(tmp_path))


@pytest.mark.parametrize("revision", ["0999", "c8a1f0d2b3e4"])
def test_a_newer_schema_or_another_programs_is_refused_and_kept(url: str, revision: str) -> None:
    open_registry(url).close()
    database = Database(url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    database.close()
    with pytest.raises(InputError, match=f"has schema '{revision}'.*newer ablab or belongs to another program"):
        open_registry(url)


def _use(registry: Registry) -> list[Any]:
    owner = Owner("x", this_process())
    return [
        lambda: registry.executions(),
        lambda: registry.start_execution(execution()),
        lambda: registry.try_acquire("0" * 64, owner),
        lambda: registry.stage_records(["0" * 64]),
    ]


@pytest.mark.parametrize("loss", ["deleted", "emptied", "overwritten"])
def test_a_lost_file_is_a_run_error_that_says_how_to_resume(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "registry.db"
    with open_registry(sqlite_url(path)) as registry:
        for leftover in tmp_path.glob("registry.db*"):
            leftover.unlink()
        if loss != "deleted":
            path.write_bytes(b"" if loss == "emptied" else b"something else altogether" * 100)
        for use in _use(registry):
            with pytest.raises(RunError, match="lost the registry database") as raised:
                use()
            assert "Finished stages are safe" in raised.value.remedy
            assert "ablab reindex" in raised.value.remedy
        assert path.exists() == (loss != "deleted")


def test_a_full_disk_asks_for_space_and_not_for_a_database(tmp_path: Path) -> None:
    with (
        open_registry(sqlite_url(tmp_path / "registry.db")) as registry,
        pytest.raises(RunError, match="disk is full") as raised,
        registry.database.write() as session,
    ):
        session.execute(text("PRAGMA max_page_count = 1"))
        session.execute(text("CREATE TABLE big AS SELECT randomblob(1000000)"))
    assert "Free space, then run the same command" in raised.value.remedy


@pytest.mark.postgres
def test_a_stopped_server_is_a_run_error_and_a_restarted_one_is_used_again(
    postgres_server: Any, postgres_url: str
) -> None:
    with open_registry(postgres_url) as registry:
        known = registry.start_execution(execution())
        postgres_server.stop()
        try:
            for use in _use(registry):
                with pytest.raises(RunError, match="lost the registry database postgresql://ablab"):
                    use()
        finally:
            postgres_server.start()
        assert registry.execution(known).status == "running"


@pytest.mark.postgres
def test_a_dropped_schema_is_a_run_error(postgres_url: str) -> None:
    with open_registry(postgres_url) as registry:
        with registry.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        with pytest.raises(RunError, match="lost the registry database"):
            registry.executions()


def test_a_full_disk_is_a_run_error(tmp_path: Path) -> None:
    with open_registry(sqlite_url(tmp_path / "registry.db")) as registry:
        with contextlib.closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        big = execution(name="x" * 50)
        limited = Database(sqlite_url(tmp_path / "registry.db"))
        _limit_pages(limited, pages)
        with pytest.raises(RunError, match="database or disk is full"):
            for _ in range(200):
                Registry(limited).start_execution(big)
        limited.close()
        assert registry.executions(limit=1)


def _limit_pages(database: Database, pages: int) -> None:
    from sqlalchemy import event

    event.listen(
        database.engine, "connect", lambda connection, _: connection.execute(f"PRAGMA max_page_count = {pages}")
    )


def test_relative_urls_follow_the_folder_they_were_opened_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_registry("sqlite:///here.db") as registry:
        os.chdir("/")
        assert registry.executions() == []
    assert (tmp_path / "here.db").is_file()
