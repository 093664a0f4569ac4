"""What a run leaves behind when something around it is wrong: an honest record, and one clear error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from stages_helper import execution_record
from tiny_helper import NAME, ablab, command, environment, run_tiny

from ablab.registry.process import this_process
from ablab.registry.records import NewExecution
from ablab.registry.registry import open_registry
from ablab.runner.interrupted import mark_interrupted
from ablab.store import Store
from ablab.store.executions import read_execution, write_execution


@pytest.fixture
def home(finished_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished run without MLflow's database."""
    return shutil.copytree(finished_home, tmp_path / "home", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))


def statuses(home: Path) -> dict[str, str]:
    """Status by execution, as people are told."""
    shown = ablab(home, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    return {row["execution"]: row["status"] for row in json.loads(shown.stdout)}


def test_a_moved_mlflow_database_is_found_before_work(finished_home: Path, tmp_path: Path) -> None:
    """It holds absolute addresses, which are those of the folder that it was copied from."""
    home = shutil.copytree(finished_home, tmp_path / "moved")
    shutil.rmtree(home / "store" / "describe")
    before = sorted(path for path in home.rglob("*") if "registry.db" not in path.name)
    done = run_tiny(home)
    assert done.returncode == 2, done.stdout + done.stderr
    assert str(finished_home / "mlartifacts") in done.stderr
    assert "delete the database: `ablab publish` rebuilds it" in done.stderr
    assert sorted(path for path in home.rglob("*") if "registry.db" not in path.name) == before, "nothing was computed"
    assert ablab(home, "publish").returncode == 2


def test_a_run_whose_results_cannot_be_published_is_finished_all_the_same(home: Path) -> None:
    known = statuses(home)
    (home / "mlartifacts").write_text("a file where a folder must be")
    done = run_tiny(home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "run: ablab publish" in done.stderr
    (new,) = set(statuses(home)) - set(known)
    assert statuses(home)[new] == "finished"


def test_a_fault_of_the_disk_outside_any_stage_is_one_clear_error(home: Path) -> None:
    known = statuses(home)
    shutil.rmtree(home / "results")
    (home / "results").write_text("a file where a folder must be")
    done = run_tiny(home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "results" in done.stderr
    assert "the same command again" in done.stderr
    (new,) = set(statuses(home)) - set(known)
    assert statuses(home)[new] == "failed"


@pytest.mark.parametrize("lost_registry", [False, True])
def test_a_killed_run_is_never_shown_as_running(tmp_path: Path, lost_registry: bool) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        command("run-ablation", NAME, "--scale", "tiny", "--jobs", "1"),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list((home / "store" / ".attempts").glob("*")):
            assert process.poll() is None
            time.sleep(0.01)
        assert list(statuses(home).values()) == ["running"]
    finally:
        process.kill()
        process.wait()
    if lost_registry:
        (home / "registry.db").unlink()
    assert list(statuses(home).values()) == ["interrupted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        command("run-ablation", NAME, "--scale", "tiny", "--jobs", "1"),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    attempts = home / "store" / ".attempts"
    while not (found := list(attempts.glob("*"))):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(found[0].name.split("_")[1]), 0)
    assert list(statuses(home).values()) == ["interrupted"]


def test_only_executions_of_dead_processes_are_marked_in_store_and_registry(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        dead = replace(this_process(), pid=child.pid, started="1")
        child.communicate()
    processes = {"living": this_process(), "dead": dead, "far": replace(dead, machine="of another host")}
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        ids = {}
        for name, process in processes.items():
            new = NewExecution(name, "tiny", "d" * 64, {}, {}, {}, process, "0", "unknown")
            ids[name] = registry.start_execution(new)
            known = {"pid": process.pid, "machine": process.machine, "process_started": process.started}
            write_execution(store.root, execution_record(id=ids[name], **known))
        ended = execution_record(id="e" * 32, pid=dead.pid, machine=dead.machine, process_started=dead.started)
        write_execution(store.root, ended.ended("finished", ""))
        mark_interrupted(registry, store)
        shown = {name: read_execution(store.root, id_).status for name, id_ in ids.items()}
        assert shown == {name: registry.execution(id_).status for name, id_ in ids.items()}
    assert shown == {"living": "running", "dead": "interrupted", "far": "running"}
    assert read_execution(store.root, "e" * 32).status == "finished"
    assert "died" in read_execution(store.root, ids["dead"]).message


def test_a_home_that_mlflow_would_write_beside_is_found_before_work(tmp_path: Path) -> None:
    done = run_tiny(tmp_path / "100%25 sure")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "holds % or ?; set ABLAB_HOME" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["100%25 sure"]
    assert ablab(tmp_path / "100%25 sure", "status").returncode == 0
