"""Removing from a store: what was removed counts as absent, the rest is verified, kills are harmless."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablab.errors import InputError
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics
from ablab.store import Store
from ablab.store.files import read_json
from ablab.store.locks import is_locked, try_lock
from ablab.store.pruned import PRUNED, pruned_steps, read_pruned
from ablab.store.removal import (
    collecting,
    finish_pruning,
    remove_checkpoints,
    remove_leftovers,
    remove_stage,
    wait_for_gc,
)
from ablab.store.space import BLOCK, Space

IDENTITY = {"schema": 1, "kind": "train", "revision": 1, "params": {"share": 0.0}, "inputs": {}}
KEY = digest(IDENTITY)
STEPS = (5, 10, 15, 20)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    train(store)
    return store


def train(store: Store, steps: tuple[int, ...] = (), numerics: Numerics | None = None) -> bool:
    """Put a training with four checkpoints into the store; False if that is not called for."""
    attempt = store.begin("train", KEY, numerics or Numerics(), steps)
    if attempt is None:
        return False
    for step in STEPS:
        folder = attempt.out / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes([step]) * 5_000)
    (attempt.work / "resume" / "step-00000020").mkdir(parents=True, exist_ok=True)
    result = {"checkpoints": [{"step": step, "validation_loss_nats": 3.0} for step in STEPS]}
    store.commit(attempt, IDENTITY, result, {})
    return True


def kept(store: Store) -> list[int]:
    return sorted(int(path.name[5:]) for path in (store.directory("train", KEY) / "checkpoints").iterdir())


def private(store: Store) -> list[str]:
    return [path.name for folder in (".attempts", ".work", ".trash") for path in (store.root / folder).glob("*")]


def killed_at(store: Store, step: int, work: Callable[[Store], object]) -> bool:
    """Run `work` in a process of its own that dies before its file operation number `step`; True when it had fewer."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        named = any(str(store.root) in os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | Path))
        if (named or event in ("os.remove", "os.rmdir")) and event.startswith(("open", "os.", "shutil.")):
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    pid = os.fork()
    if pid == 0:
        try:
            sys.addaudithook(hook)
            work(store)
        finally:
            os._exit(0)
    return not os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_removed_checkpoint_is_no_hit_for_what_needs_it_and_the_rest_is_verified(store: Store) -> None:
    assert remove_checkpoints(store, KEY, [5, 15])
    assert kept(store) == [10, 20]
    assert store.has("train", KEY)
    assert store.has("train", KEY, [10, 20])
    assert not store.has("train", KEY, [10, 15])
    assert Store(store.root).faults("train", KEY) == []
    (store.directory("train", KEY) / "checkpoints" / "step-00000010" / "model.safetensors").write_bytes(b"")
    assert "step-00000010/model.safetensors has 0 bytes" in Store(store.root).faults("train", KEY)[0]


def test_removing_more_adds_to_what_is_recorded(store: Store) -> None:
    remove_checkpoints(store, KEY, [5])
    first = read_json(store.directory("train", KEY) / PRUNED)["steps"]["5"]
    remove_checkpoints(store, KEY, [10])
    recorded = read_json(store.directory("train", KEY) / PRUNED)
    assert (recorded["by"], set(recorded["steps"]), recorded["steps"]["5"]) == ("ablab gc", {"5", "10"}, first)
    assert kept(store) == [15, 20]


@pytest.mark.parametrize("content", ["{", "[]", '{"steps": [5]}', '{"steps": {"../..": ""}}'])
def test_a_damaged_record_of_what_was_removed_makes_a_damaged_stage(store: Store, content: str) -> None:
    (store.directory("train", KEY) / PRUNED).write_text(content)
    assert store.has("train", KEY, [5])
    assert "manifest.json cannot be used" in store.faults("train", KEY)[0]
    assert store.set_aside("train", KEY) is not None


def test_what_is_recorded_as_removed_does_not_hide_other_damage(store: Store) -> None:
    """Only checkpoints can be removed; a record cannot excuse a missing result."""
    remove_checkpoints(store, KEY, [5])
    (store.directory("train", KEY) / "result.json").unlink()
    assert Store(store.root).faults("train", KEY) == ["result.json is missing"]


def test_a_training_that_lacks_what_is_needed_is_computed_beside_the_old_one_and_takes_its_place(store: Store) -> None:
    directory = store.directory("train", KEY)
    before = {path.name: path.read_bytes() for path in directory.rglob("*.safetensors")}
    remove_checkpoints(store, KEY, [5])
    assert not train(store, (10,)), "what is kept serves"
    attempt = store.begin("train", KEY, Numerics(), [5])
    assert attempt is not None
    assert attempt.replaces
    assert store.has("train", KEY, [10, 20]), "until then the old one serves those who need no more of it"
    store.discard(attempt)
    assert train(store, (5,))
    assert pruned_steps(directory) == frozenset()
    assert kept(store) == list(STEPS)
    assert {path.name: path.read_bytes() for path in directory.rglob("*.safetensors")} == before
    assert Store(store.root).faults("train", KEY) == []
    assert private(store) == []


def test_what_is_computed_again_has_the_numerics_it_had(tmp_path: Path) -> None:
    store = Store(tmp_path)
    train(store, numerics=Numerics(threads=3, micro_batch=4))
    remove_checkpoints(store, KEY, [5])
    train(store, (5,), Numerics(threads=1))
    assert store.manifest("train", KEY)["numerics"]["threads"] == 3
    remove_checkpoints(store, KEY, [5])
    train(store, (5,), Numerics(threads=1, device="cuda"))
    assert store.manifest("train", KEY)["numerics"]["device"] == "cuda", "the device of then may not be here"


def test_what_is_computed_again_on_ranks_that_are_given_has_these(store: Store) -> None:
    remove_checkpoints(store, KEY, [5])
    assert train(store, (5,), Numerics(micro_batch=8, ranks=2))
    assert Numerics.model_validate(store.manifest("train", KEY)["numerics"]) == Numerics(ranks=2)


def test_work_on_a_replacement_survives_a_sweep(store: Store) -> None:
    remove_checkpoints(store, KEY, [5])
    attempt = store.begin("train", KEY, Numerics(), [5])
    assert attempt is not None
    (attempt.work / "resume" / "step-00000005").mkdir(parents=True)
    store.discard(attempt)
    store.sweep()
    assert store.has_work(KEY)


def test_a_replacement_killed_at_any_moment_leaves_the_old_the_new_or_a_resumable_one(tmp_path: Path) -> None:
    outcomes: set[str] = set()
    for step in range(300):
        store = Store(tmp_path / f"killed-{step}")
        train(store)
        remove_checkpoints(store, KEY, [5])
        ended = killed_at(store, step, lambda one: train(one, (5,)))
        if store.has("train", KEY):
            assert Store(store.root).faults("train", KEY) == []
            outcomes.add("new" if store.has("train", KEY, [5]) else "old")
        else:  # it was killed between two renames, so its state was there
            assert store.has_work(KEY)
            outcomes.add("resumable")
        store.sweep()
        train(store, (5,))
        assert Store(store.root).faults("train", KEY) == []
        assert kept(store) == list(STEPS)
        assert private(store) == []
        if ended:
            break
    assert ended
    assert outcomes == {"old", "resumable", "new"}


def test_pruning_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    recorded = set()
    for step in range(100):
        store = Store(tmp_path / f"killed-{step}")
        train(store)
        ended = killed_at(store, step, lambda one: remove_checkpoints(one, KEY, [5, 10]))
        assert Store(store.root).faults("train", KEY) == [], "what the record names may be there or not"
        recorded.add(pruned_steps(store.directory("train", KEY)))
        assert set(kept(store)) >= {15, 20}
        assert finish_pruning(store, KEY)
        assert set(STEPS) - set(kept(store)) == pruned_steps(store.directory("train", KEY))
        if ended:
            break
    assert ended
    assert recorded == {frozenset(), frozenset({5, 10})}, "all or nothing"


def test_removing_a_stage_killed_at_any_moment_leaves_it_whole_or_absent(tmp_path: Path) -> None:
    found = []
    for step in range(100):
        store = Store(tmp_path / f"killed-{step}")
        train(store)
        ended = killed_at(store, step, lambda one: remove_stage(one, "train", KEY))
        found.append(store.has("train", KEY))
        assert store.directory("train", KEY).exists() == found[-1]
        if found[-1]:
            assert Store(store.root).faults("train", KEY) == []
        store.sweep()
        assert private(store) in ([], [f"{KEY}.lock"])
        assert train(store) != found[-1]
        if ended:
            break
    assert ended
    assert found == sorted(found, reverse=True)
    assert {True, False} == set(found)


def test_nothing_is_removed_while_a_process_is_at_the_stage(store: Store) -> None:
    remove_checkpoints(store, KEY, [5])
    attempt = store.begin("train", KEY, Numerics(), [5])
    assert attempt is not None
    assert store.is_locked(KEY)
    assert not remove_stage(store, "train", KEY)
    assert not remove_checkpoints(store, KEY, [10])
    assert not finish_pruning(store, KEY)
    assert not remove_leftovers(store, KEY, work=True)
    assert attempt.out.is_dir()
    assert kept(store) == [10, 15, 20]
    store.discard(attempt)
    assert not store.is_locked(KEY)


def test_half_written_files_go_and_what_resuming_needs_stays_unless_it_is_meant(store: Store) -> None:
    key = "0" * 64
    for work, left in ((False, True), (True, False)):
        attempt = store.begin("suite", key, Numerics())
        assert attempt is not None
        (attempt.out / "half").touch()
        (attempt.work / "resume" / "step-00000005").mkdir(parents=True, exist_ok=True)
        attempt.lock.close()  # as the kernel does for a dead process
        assert remove_leftovers(store, key, work=work)
        assert not any((store.root / ".attempts").iterdir())
        assert store.has_work(key) == left


def test_one_collector_at_a_time_and_runs_wait_for_it(store: Store) -> None:
    said: list[str] = []
    with collecting(store):
        with pytest.raises(InputError, match="another `ablab gc --apply` is at work"), collecting(store):
            raise AssertionError("two collect")
        waiting = threading.Thread(target=wait_for_gc, args=(store, said.append))
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    assert said == ["waiting for `ablab gc --apply` to end"]
    wait_for_gc(store, said.append)
    assert len(said) == 1


def test_a_lock_whose_file_was_removed_keeps_nobody_out_and_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first = try_lock(path)
    assert first is not None
    path.unlink()
    second = try_lock(path)  # the file is a new one: whoever held the old one was done with it
    assert second is not None
    assert is_locked(path)
    first.close()
    assert is_locked(path)
    second.close()
    assert not is_locked(path)
    assert not is_locked(tmp_path / "nowhere")


def test_space_counts_a_file_with_several_names_once_and_when_its_last_name_goes(tmp_path: Path) -> None:
    one, other, elsewhere = tmp_path / "one", tmp_path / "other", tmp_path / "elsewhere"
    for folder in (one, other, elsewhere):
        folder.mkdir()
    (one / "a").write_bytes(b"a" * 10_000)
    (one / "b").write_bytes(b"b" * 5_000)
    os.link(one / "a", other / "a")
    os.link(one / "b", elsewhere / "b")
    blocks = {name: (one / name).stat().st_blocks * BLOCK for name in "ab"}
    space = Space()
    assert space.freed(one) == 0
    assert space.held_elsewhere() == sum(blocks.values())
    assert space.freed(other, other) == blocks["a"]
    assert space.freed(one, tmp_path / "nowhere") == 0, "counted before"
    assert space.held_elsewhere() == blocks["b"]


def test_read_pruned_tells_damage_and_pruned_steps_does_not(store: Store) -> None:
    directory = store.directory("train", KEY)
    assert read_pruned(directory) == frozenset()
    (directory / PRUNED).write_text('{"steps": 3}')
    with pytest.raises(ValueError, match="not a list of removed checkpoints"):
        read_pruned(directory)
    assert pruned_steps(directory) == frozenset()
