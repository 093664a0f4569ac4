"""Law 3: a stage that did not finish never looks finished, a finished one stays, a damaged one is noticed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablab.errors import InputError, RunError
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics
from ablab.store import Attempt, Store
from ablab.store.files import read_json, sha256_file, write_json
from ablab.store.store import check_writable

IDENTITY = {"schema": 1, "kind": "suite", "revision": 1, "params": {"share": 0.3, "names": ["a", "ß"]}, "inputs": {}}
KEY = digest(IDENTITY)
RESULT = {"score": 51.5}
NAMES = ("plain.txt", "deep/er/a name with spaces.bin", "ünï\ncode [*].json", "-rf")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def begin(store: Store, numerics: Numerics | None = None) -> Attempt:
    attempt = store.begin("suite", KEY, numerics or Numerics())
    assert attempt is not None
    return attempt


def fill(attempt: Attempt) -> None:
    for name in NAMES:
        path = attempt.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3)


def leave_a_state(attempt: Attempt) -> None:
    """What a training goes on from."""
    folder = attempt.work / "resume" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "state").write_text("half way")


def finish(store: Store, attempt: Attempt | None = None) -> Path:
    attempt = attempt or begin(store)
    fill(attempt)
    return store.commit(attempt, IDENTITY, RESULT, {"costs": {"seconds": 1.5}})


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; its number while it runs (it is to be reaped)."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def private(store: Store) -> set[str]:
    return {path.name for folder in (".attempts", ".work") for path in (store.root / folder).glob("*")}


def test_a_stage_is_absent_until_it_is_committed_and_then_says_what_it_is(store: Store) -> None:
    attempt = begin(store, Numerics(threads=3))
    fill(attempt)
    assert not store.has("suite", KEY)
    assert list(store.finished()) == []
    final = store.commit(attempt, IDENTITY, RESULT, {"costs": {"seconds": 1.5}, "resumed": False})

    assert store.has("suite", KEY)
    assert list(store.finished()) == [("suite", KEY)]
    assert read_json(final / "stage.json") == IDENTITY
    assert digest(read_json(final / "stage.json")) == KEY
    assert store.result("suite", KEY) == RESULT
    manifest = store.manifest("suite", KEY)
    assert set(manifest["files"]) == {*NAMES, "stage.json", "result.json"}
    for name, entry in manifest["files"].items():
        path = final / name
        assert entry == {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    assert manifest["numerics"] == Numerics(threads=3).model_dump()
    assert (manifest["costs"], manifest["resumed"]) == ({"seconds": 1.5}, False)
    assert store.faults("suite", KEY) == []
    assert private(store) == set()


def test_a_kill_at_any_step_leaves_a_stage_absent_or_whole_and_the_same_in_the_end(
    tmp_path: Path,
) -> None:
    expected = {p.name: p.read_bytes() for p in finish(Store(tmp_path / "calm")).rglob("*") if p.is_file()}
    outcomes = []
    for step in range(200):
        store = Store(tmp_path / f"killed-{step}")
        completed = _finish_and_kill_at(store, step)
        outcomes.append(store.has("suite", KEY))
        store.sweep()
        if not outcomes[-1]:
            assert list(store.finished()) == []
            assert not any(name.startswith(f"{KEY}_") for name in private(store)), "half-written files are swept"
            finish(store)
        assert store.faults("suite", KEY) == []
        assert {p.name: p.read_bytes() for p in store.directory("suite", KEY).rglob("*") if p.is_file()} == expected
        assert private(store) == set()
        if completed:
            break
    assert completed
    assert outcomes == sorted(outcomes), "absent up to one step, whole from then on"
    assert outcomes.count(False) > 10
    assert outcomes.count(True) > 2, "also killed between the rename and the end"


def _finish_and_kill_at(store: Store, step: int) -> bool:
    """In a process of its own that dies before its file operation number `step`; True when it had fewer."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        of_store = any(str(store.root) in os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | Path))
        if of_store and event.startswith(("open", "os.", "shutil.")):
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    def work() -> None:
        sys.addaudithook(hook)
        finish(store)

    _, status = os.waitpid(in_child(work), 0)
    return not os.WIFSIGNALED(status)


def test_a_discarded_try_leaves_nothing_but_what_resuming_needs(store: Store) -> None:
    attempt = begin(store)
    fill(attempt)
    leave_a_state(attempt)
    store.discard(attempt)
    assert not store.has("suite", KEY)
    assert not any((store.root / ".attempts").iterdir())
    again = begin(store)
    assert again.resumed
    assert (again.work / "resume/step-00000001/state").read_text() == "half way"
    assert list(again.out.iterdir()) == []
    finish(store, again)


def test_a_resumed_stage_goes_on_with_the_numerics_it_began_with(store: Store) -> None:
    assert not store.has_work(KEY)
    attempt = begin(store, Numerics(threads=3, micro_batch=4))
    leave_a_state(attempt)
    store.discard(attempt)
    assert store.has_work(KEY)
    resumed = begin(store, Numerics(threads=1, micro_batch=32))
    assert resumed.numerics == Numerics(threads=3, micro_batch=4)
    finish(store, resumed)
    assert store.manifest("suite", KEY)["numerics"]["micro_batch"] == 4


@pytest.mark.parametrize("killed", [False, True])
def test_a_try_that_left_nothing_to_resume_binds_no_later_one_to_its_numerics(store: Store, killed: bool) -> None:
    first = begin(store, Numerics(micro_batch=64))
    (first.work / "resume" / "partial").mkdir(parents=True)
    (first.work / "rows.json").write_text("{}")
    (first.work / "live.jsonl").write_text("{}")
    first.lock.close() if killed else store.discard(first)
    assert not store.has_work(KEY)
    again = begin(store, Numerics(micro_batch=2))
    assert (again.numerics, again.resumed) == (Numerics(micro_batch=2), False)
    assert {path.name for path in again.work.iterdir()} == {"numerics.json", "live.jsonl"}
    finish(store, again)


def test_unreadable_numerics_of_an_interrupted_stage_are_an_error_with_a_remedy(store: Store) -> None:
    attempt = begin(store)
    leave_a_state(attempt)
    store.discard(attempt)
    (attempt.work / "numerics.json").write_text('{"threads": "many"}')
    with pytest.raises(RunError, match=r"threads(.|\n)*remove .*begins anew"):
        store.begin("suite", KEY, Numerics())
    shutil.rmtree(attempt.work)
    store.discard(begin(store))


def test_two_processes_are_never_at_one_stage_and_a_killed_one_is_no_longer_at_it(store: Store) -> None:
    def work() -> None:
        attempt = begin(store)
        leave_a_state(attempt)
        time.sleep(60)

    child = in_child(work)
    try:
        while not store.has_work(KEY):
            time.sleep(0.005)
        assert store.begin("suite", KEY, Numerics()) is None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    attempt = begin(store)
    assert attempt.resumed
    finish(store, attempt)


def test_a_finished_stage_is_not_begun_again(store: Store) -> None:
    finish(store)
    assert store.begin("suite", KEY, Numerics()) is None
    assert private(store) == set()


def test_of_two_that_finish_one_stage_the_first_stays(store: Store, tmp_path: Path) -> None:
    attempt = begin(store)
    theirs = finish(Store(tmp_path / "another host"))  # whose locks do not reach this one
    shutil.copytree(theirs, store.directory("suite", KEY))
    before = (store.directory("suite", KEY) / "manifest.json").stat().st_ino
    final = finish(store, attempt)
    assert (final / "manifest.json").stat().st_ino == before
    assert store.faults("suite", KEY) == []
    assert private(store) == set()


def test_a_directory_without_a_manifest_is_moved_out_of_the_way(store: Store) -> None:
    partly_copied = store.directory("suite", KEY)
    partly_copied.mkdir(parents=True)
    (partly_copied / "result.json").write_text("{}")
    assert not store.has("suite", KEY)
    finish(store)
    assert store.faults("suite", KEY) == []
    assert [p.name for p in next((store.root / ".damaged").iterdir()).iterdir()] == ["result.json"]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def _forget_result(path: Path) -> None:
    manifest = read_json(path)
    del manifest["files"]["result.json"]
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("deep/er/a name with spaces.bin", _flip, "deep/er/a name with spaces.bin has another SHA-256 than recorded"),
        ("plain.txt", lambda path: path.write_bytes(b"x"), "plain.txt has 1 bytes, recorded 27"),
        ("-rf", Path.unlink, "-rf is missing"),
        ("result.json", _flip, "result.json has another SHA-256 than recorded"),
        ("manifest.json", lambda path: path.write_text('{"files": '), "manifest.json cannot be used: JSONDecodeError"),
        ("manifest.json", lambda path: path.write_text("[]"), "manifest.json cannot be used: TypeError"),
        ("manifest.json", lambda path: path.write_text('{"files": {"a": {}}}'), "manifest.json cannot be used: KeyErr"),
        ("manifest.json", _forget_result, "manifest.json does not list result.json"),
    ],
)
def test_damage_is_noticed_by_name(store: Store, name: str, damage: Callable[[Path], Any], told: str) -> None:
    damage(finish(store) / name)
    if "KeyErr" in told:
        (store.directory("suite", KEY) / "a").touch()
    assert [fault[: len(told)] for fault in Store(store.root).faults("suite", KEY)] == [told]


def test_a_stage_under_the_key_of_another_is_noticed(store: Store) -> None:
    other = "0" * 64
    finish(store).rename(store.directory("suite", other))
    assert store.faults("suite", other) == ["stage.json is that of another stage"]


def test_a_damaged_stage_is_kept_aside_and_may_be_computed_again(store: Store) -> None:
    _flip(finish(store) / "plain.txt")
    aside = store.set_aside("suite", KEY)
    assert aside is not None
    assert (aside / "plain.txt").is_file()
    assert not store.has("suite", KEY)
    finish(store)
    assert store.faults("suite", KEY) == []
    assert list(store.finished()) == [("suite", KEY)]


def test_what_another_process_moved_or_replaced_meanwhile_is_left_alone(store: Store) -> None:
    _flip(finish(store) / "plain.txt")
    found = Store(store.root)  # of a process that has just found the damage
    assert found.faults("suite", KEY) != []
    assert store.set_aside("suite", KEY) is not None
    assert found.set_aside("suite", KEY) is None
    attempt = begin(store)
    assert found.set_aside("suite", KEY) is None
    finish(store, attempt)
    assert found.set_aside("suite", KEY) is None
    assert store.has("suite", KEY)


def test_sweeping_removes_what_the_dead_left_and_spares_the_living(store: Store) -> None:
    keys = {name: digest(name) for name in ("dead", "living", "resumable")}
    resumable = _begin(store, keys["resumable"])
    leave_a_state(resumable)
    store.discard(resumable)

    def work() -> None:
        attempt = _begin(store, keys["dead"])
        leave_a_state(attempt)
        (attempt.out / "half").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(work), 0)
    living = _begin(store, keys["living"])
    (store.root / ".work" / "not a key").mkdir()
    store.sweep()
    assert {path.name[:64] for path in (store.root / ".attempts").iterdir()} == {keys["living"]}
    assert living.out.is_dir()
    assert all(store.has_work(keys[name]) for name in ("dead", "resumable")), "what resuming needs stays"
    store.discard(living)


def _begin(store: Store, key: str) -> Attempt:
    attempt = store.begin("suite", key, Numerics())
    assert attempt is not None
    return attempt


def test_only_stages_are_listed_as_finished(store: Store) -> None:
    finish(store)
    for folder in ("executions/x", "notes/draft", f".damaged/suite-{KEY}-1", f"suite/{KEY[:12]}"):
        (store.root / folder).mkdir(parents=True)
        (store.root / folder / "manifest.json").write_text("{}")
    (store.root / "README.txt").write_text("what lies here")
    assert list(store.finished()) == [("suite", KEY)]
    assert list(Store(store.root / "nowhere").finished()) == []


@pytest.mark.parametrize("name", ["stage.json", "result.json", "manifest.json"])
def test_a_stage_may_not_write_the_names_of_the_store(store: Store, name: str) -> None:
    attempt = begin(store)
    (attempt.out / name).write_text("{}")
    with pytest.raises(RunError, match=f"{name}, names that belong to the store"):
        store.commit(attempt, IDENTITY, RESULT, {})
    store.discard(attempt)
    assert not store.has("suite", KEY)


def test_a_stage_may_not_hold_links_to_what_can_change_or_vanish(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("changes later")
    attempt = begin(store)
    (attempt.out / "a").mkdir()
    (attempt.out / "a" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"wrote a/link: symbolic links"):
        store.commit(attempt, IDENTITY, RESULT, {})
    store.discard(attempt)


def test_json_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"now": 1})
    with pytest.raises(UnicodeEncodeError):
        write_json(tmp_path / "a.json", {"name": "\ud800"})
    assert read_json(tmp_path / "a.json") == {"now": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_store_that_cannot_be_written_is_found_before_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "store")
    assert list((tmp_path / "new" / "store").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written and locked"):
        check_writable(tmp_path / "file")
