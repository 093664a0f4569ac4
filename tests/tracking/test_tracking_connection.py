from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from process_helper import wait_until

from ablab.errors import InputError
from ablab.tracking import Tracker


def test_importing_tracking_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, ablab.tracking; print([m for m in ('mlflow', 'torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


CREATE = (
    "import sys; from ablab.tracking.connection import connect, exclusive\n"
    "with exclusive(sys.argv[1]): client = connect(sys.argv[1])\n"
    "client.search_experiments(); assert 'torch' not in sys.modules"
)


def test_two_processes_may_create_the_database_at_once_and_print_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CREATE, f"sqlite:///{tmp_path}/new folder/mlflow.db"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=60) for process in processes] == [(b"", b""), (b"", b"")]
    assert [process.returncode for process in processes] == [0, 0]


def test_a_process_that_is_killed_while_it_creates_the_database_leaves_nothing_that_the_next_one_stumbles_over(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", CREATE, f"sqlite:///{tmp_path}/mlflow.db"]
    with subprocess.Popen(command) as process:
        wait_until(lambda: half_made(tmp_path / "mlflow.db.new"))
        process.kill()
    assert not (tmp_path / "mlflow.db").exists()
    subprocess.run(command, check=True, timeout=60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def half_made(path: Path) -> bool:
    """Some tables are there."""
    return path.exists() and path.stat().st_size > 0


def test_check_accepts_a_database_that_is_not_there_yet_and_creates_nothing(tmp_path: Path) -> None:
    Tracker(f"sqlite:///{tmp_path}/home/mlflow.db", tmp_path).check()
    assert list(tmp_path.iterdir()) == []


def test_check_accepts_a_database_of_mlflow(tracker: Tracker) -> None:
    tracker.check()


@pytest.mark.parametrize(
    "uri",
    ["http://[bad", "http://me:hun/ter2@host", "postgresql://me:hunter2@h:ter2/x", "postgresql://me:hunter2@[bad"],
)
def test_check_refuses_what_is_no_url_and_shows_no_part_of_its_password(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI=.* cannot be used: ") as caught:
        Tracker(uri, tmp_path).check()
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://host/x", "", "foo", "http"])
def test_check_refuses_what_is_neither_server_nor_database(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a tracking server or a database"):
        Tracker(uri, tmp_path).check()


def test_check_refuses_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(InputError, match=r"file is not a database.*ablab publish"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path).check()


def test_check_refuses_the_database_of_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(InputError, match="belongs to another program"):
        Tracker(f"sqlite:///{tmp_path}/optuna.db", tmp_path).check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_refuses_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path).check()


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg"])
def test_check_names_an_unreachable_server_without_its_password_within_seconds(scheme: str, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        uri = f"{scheme}://me:hunter2@127.0.0.1:{unused.getsockname()[1]}/mlflow"
        before = time.monotonic()
        with pytest.raises(InputError) as caught:
            Tracker(uri, tmp_path).check()
    assert time.monotonic() - before < 15
    assert f"{scheme}://me:***@127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "unset it to use the built-in SQLite database" in str(caught.value)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_a_database_whose_writer_was_killed_is_usable(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    killed_writer = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('create table t (x)'); db.commit();"
        "db.execute('pragma cache_size = 1'); db.execute('begin');"
        "db.executemany('insert into t values (?)', [('x' * 500,)] * 2000); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", killed_writer, str(path)], check=False)
    assert path.with_name("mlflow.db-journal").exists()
    Tracker(f"sqlite:///{path}", tmp_path).check()
