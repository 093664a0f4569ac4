"""`ablab gc`: shows what, why and how much; removes only with --apply; says what it cannot use."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_helper import call, settle
from gc_helper import design, key_of, plan_of, put, put_run, tree
from stages_helper import suite_stage
from tiny_helper import ROOT

from ablab.registry.process import this_process
from ablab.spec.placement import Numerics
from ablab.store import Store
from ablab.store.executions import read_executions
from ablab.store.pruned import checkpoint_folder, pruned_steps
from ablab.store.removal import collecting
from ablab.store.space import BLOCK

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in the home of a project without declarations; its folder does not exist yet."""
    (tmp_path / "ablations").mkdir()
    settle(monkeypatch, tmp_path / "home", tmp_path)
    return Store(tmp_path / "home" / "store")


def gc_json(capsys: Capture, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert call("ablab", "gc", "--json", *arguments) == 0
    read: dict[str, Any] = json.loads(capsys.readouterr().out)
    return read


def allocated(root: Path) -> int:
    """Bytes of all files below a folder on the disk, each file once whatever its names."""
    found = {(p.stat().st_dev, p.stat().st_ino): p.stat().st_blocks * BLOCK for p in root.rglob("*") if p.is_file()}
    return sum(found.values())


def test_without_apply_nothing_is_touched_and_with_it_that_is_removed_and_freed(store: Store, capsys: Capture) -> None:
    put_run(store, design(42), "a")
    put(store, suite_stage())
    attempt = store.begin("suite", "0" * 64, Numerics())
    assert attempt is not None
    (attempt.work / "model").write_bytes(b"x" * 9_000)
    os.link(attempt.work / "model", attempt.out / "model")
    attempt.lock.close()
    files = tree(store.root)
    shown = gc_json(capsys)
    assert tree(store.root) == files
    assert not shown["applied"]
    assert {group["group"] for group in shown["groups"]} == {"work", "stages", "checkpoints"}
    before = allocated(store.root)
    done = gc_json(capsys, "--apply")
    assert done["applied"]
    assert [done[name] for name in ("groups", "bytes")] == [shown[name] for name in ("groups", "bytes")]
    record = Path(store.directory("train", done["groups"][-1]["items"][0]["key"]) / "pruned.json")
    assert before - allocated(store.root) == done["bytes"] - record.stat().st_blocks * BLOCK
    assert not any(Path(path).exists() for group in done["groups"] for item in group["items"] for path in item["paths"])
    assert gc_json(capsys)["groups"] == []
    assert tree(store.root) < files | {record.relative_to(store.root).as_posix()}


def test_what_why_and_how_much_is_shown_in_words(store: Store, capsys: Capture) -> None:
    _, plan = put_run(store, design(42), "a")
    put(store, suite_stage())
    assert call("ablab", "gc") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"suite {suite_stage().key[:12]}" in shown
    assert "no recorded run and no pinned version needs it" in shown
    assert f"train {key_of(plan, 'real-only', 'train')[:12]} step 15" in shown
    assert "neither the last nor the best, and no recorded run or pinned version declares it" in shown
    assert re.search(r"2 things, \d+\.\dkB; what 1 recorded run and the pinned versions need stays", shown)
    assert "nothing was touched; the same command with --apply removes them" in shown
    assert call("ablab", "gc", "--apply") == 0
    assert re.search(r"removed 2 things, freed \d+\.\dkB", capsys.readouterr().out)
    assert call("ablab", "gc") == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_files_that_mlflow_links_are_told_to_stay(store: Store, tmp_path: Path, capsys: Capture) -> None:
    _, plan = put_run(store, design(42), "a")
    weights = store.directory("train", key_of(plan, "real-only", "train")) / checkpoint_folder(15) / "model.safetensors"
    os.link(weights, tmp_path / "linked")
    shown = gc_json(capsys)
    assert (shown["bytes"], shown["held_elsewhere"]) == (0, weights.stat().st_blocks * BLOCK)


def test_forgetting_a_run_shows_what_only_it_needs_and_takes_its_record_with_apply(
    store: Store, capsys: Capture
) -> None:
    kept, kept_plan = put_run(store, design(42), "a")
    gone, plan = put_run(store, design(42, 7), "b")
    shown = gc_json(capsys, "--forget", "bb")
    assert shown["forgotten"] == [gone.id]
    assert shown["executions"] == 1
    assert len(list(read_executions(store.root))) == 2
    stages = next(group for group in shown["groups"] if group["group"] == "stages")
    assert {item["key"] for item in stages["items"]} == set(plan.stages) - set(kept_plan.stages)
    gc_json(capsys, "--forget", "bb", "--apply")
    assert [record.id for record in read_executions(store.root)] == [kept.id]
    assert {key for _, key in store.finished()} == set(kept_plan.stages)
    assert {p.state for p in plan_of(store, design(42)).stages.values()} == {"cached"}
    assert call("ablab", "status", "aa") == 0


def test_a_run_killed_between_forgetting_and_removing_leaves_work_for_the_next(store: Store, capsys: Capture) -> None:
    put_run(store, design(7), "b")
    shown = gc_json(capsys, "--forget", "b")
    (store.root / "executions" / f"{'b' * 32}.json").unlink()  # the record goes first, then a kill
    assert gc_json(capsys, "--apply")["groups"] == shown["groups"]
    assert list(store.finished()) == []


def test_runs_that_cannot_be_forgotten_are_all_named(store: Store, capsys: Capture) -> None:
    me = this_process()
    mine = {"machine": me.machine, "pid": me.pid, "process_started": me.started, "status": "running"}
    put_run(store, design(42), "a", **mine)
    put_run(store, design(42), "b")
    assert call("ablab", "gc", "--forget", "a", "--forget", "ff", "--forget", "", "--apply") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "this run is going on" in errors[0]
    assert "0 runs have an id that begins so" in errors[1]
    assert len(list(read_executions(store.root))) == 2


def test_a_dead_run_can_be_forgotten_also_one_of_before_a_restart(store: Store, capsys: Capture) -> None:
    me = this_process()
    put_run(store, design(42), "a", machine=me.machine, pid=me.pid, process_started="1", status="running")
    put_run(store, design(42), "b", machine="another boot", status="running")
    assert len(gc_json(capsys, "--forget", "a", "--forget", "b")["forgotten"]) == 2


def test_a_pinned_version_keeps_what_it_needs_without_any_run(store: Store, tmp_path: Path, capsys: Capture) -> None:
    versions = tmp_path / "ablations" / "versions"
    versions.mkdir()
    shutil.copy(ROOT / "ablations" / "versions" / "contrastive-vs-masked@1.json", versions)
    _, plan = put_run(store, design(42, 7), "a")
    (store.root / "executions" / f"{'a' * 32}.json").unlink()
    shown = gc_json(capsys)
    assert any("contrastive-vs-masked@1 at small: its stages cannot be named" in note for note in shown["notes"])
    stages = next(group for group in shown["groups"] if group["group"] == "stages")
    gone = {item["key"] for item in stages["items"]}
    assert key_of(plan, "real-only", "train") not in gone
    assert key_of(plan, "mixed", "train") in gone


def test_a_pinned_version_that_cannot_be_read_stops_everything(store: Store, tmp_path: Path, capsys: Capture) -> None:
    put_run(store, design(42), "a")
    (tmp_path / "ablations" / "versions").mkdir()
    (tmp_path / "ablations" / "versions" / "mine@1.json").write_text("{}")
    files = tree(store.root)
    assert call("ablab", "gc", "--apply") == 2
    assert "mine@1.json is damaged" in capsys.readouterr().err
    assert tree(store.root) == files


def test_a_damaged_store_stops_everything_with_every_fault(store: Store, capsys: Capture) -> None:
    _, plan = put_run(store, design(42), "a")
    for role in ("train", "select"):
        (store.directory(role, key_of(plan, "real-only", role)) / "stage.json").write_text("{}")
    assert call("ablab", "gc", "--apply") == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    (store.root / "executions" / "x.json").write_text("{")
    assert call("ablab", "gc", "--apply") == 2
    assert "is not the record of an execution" in capsys.readouterr().err
    assert pruned_steps(store.directory("train", key_of(plan, "real-only", "train"))) == frozenset()


def test_an_empty_store_has_nothing_to_remove_and_is_not_made(store: Store, capsys: Capture) -> None:
    assert gc_json(capsys, "--apply")["groups"] == []
    assert not store.root.exists()
    assert call("ablab", "gc", "--forget", "a") == 2
    assert "no run is recorded" in capsys.readouterr().err
    store.root.mkdir(parents=True)
    assert call("ablab", "gc") == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_two_collectors_are_not_at_work_at_once(store: Store, capsys: Capture) -> None:
    put_run(store, design(42), "a")
    with collecting(store):
        assert call("ablab", "gc", "--apply") == 2
        assert "another `ablab gc --apply` is at work" in capsys.readouterr().err
        assert call("ablab", "gc") == 0, "looking harms nobody"


def test_a_store_that_may_not_be_written_can_be_looked_at_and_says_so_when_it_is_to_be_changed(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put_run(store, design(42), "a")
    assert call("ablab", "gc") == 0  # makes the registry, which is elsewhere
    open_to_all(tmp_path)
    for folder in (store.root, *(path for path in store.root.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    try:
        assert as_nobody(lambda: call("ablab", "gc")) == 0
        assert "step 15" in capfd.readouterr().out
        assert as_nobody(lambda: call("ablab", "gc", "--apply")) == 2
        assert "cannot be written and locked" in capfd.readouterr().err
    finally:
        for folder in (store.root, *(path for path in store.root.rglob("*") if path.is_dir())):
            folder.chmod(0o755)


def open_to_all(folder: Path) -> None:
    """Let another user through to a folder, and write in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    for path in folder.parents:
        if path.owner() == Path.home().owner() and path != Path("/") and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o005)


def as_nobody(work: Any) -> int:
    """The exit code of `work` in a process of a user without rights (of this one, if it is no superuser)."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            if os.geteuid() == 0:
                os.setgid(65_534)
                os.setuid(65_534)
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
