"""Taking things out of a store for good, safely against a kill at any moment and against runs at the same time.

A stage leaves by one rename and is deleted afterwards; a checkpoint is first recorded as removed (`pruned`). Both
under the lock that keeps processes from computing the stage. `collecting` keeps a second collector out, and lets a run
that has just been recorded wait (`wait_for_gc`) until what was decided without knowing it is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from ablab.errors import InputError
from ablab.store.locks import is_locked, try_lock
from ablab.store.pruned import checkpoint_folder, pruned_steps, record_pruned
from ablab.store.store import Store

GC_LOCK = ".gc.lock"
WAIT_S = 0.1
PATIENCE_S = 1.0


@contextmanager
def collecting(store: Store) -> Iterator[None]:
    """What is decided and removed inside is one thing for every run. Raises `InputError` while another collects."""
    lock = _try_for(PATIENCE_S, store.root / GC_LOCK)
    if lock is None:
        raise InputError(f"another `ablab gc --apply` is at work on the store {store.root}; wait until it has ended")
    with closing(lock):
        yield


def _try_for(seconds: float, path: Path) -> BinaryIO | None:
    """The lock, if it is free for a moment within so long: runs that ask whether it is held hold it while they ask."""
    deadline = time.monotonic() + seconds
    while (lock := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return lock


def wait_for_gc(store: Store, tell: Callable[[str], None]) -> None:
    """Wait while an `ablab gc --apply` removes things that it chose before the caller was recorded."""
    told = False
    while is_locked(store.root / GC_LOCK):
        if not told:
            tell("waiting for `ablab gc --apply` to end")
            told = True
        time.sleep(WAIT_S)


def remove_stage(store: Store, kind: str, key: str) -> bool:
    """Remove a finished stage; False while another process is at it."""
    lock = store.lock(key)
    if lock is None:
        return False
    with closing(lock):
        directory = store.directory(kind, key)
        if directory.exists():
            shutil.rmtree(store.to_trash(directory))
        store.forget(key)
    return True


def remove_checkpoints(store: Store, key: str, steps: Collection[int]) -> bool:
    """Remove checkpoints of a finished training; False while another process is at it."""
    lock = store.lock(key)
    if lock is None:
        return False
    with closing(lock):
        directory = store.directory("train", key)
        record_pruned(directory, steps)
        for step in sorted(steps):
            remove_tree(directory / checkpoint_folder(step))
        store.unlock(key)
    return True


def finish_pruning(store: Store, key: str) -> bool:
    """Remove what is left of checkpoints that are recorded as removed; False while another process is at it."""
    lock = store.lock(key)
    if lock is None:
        return False
    with closing(lock):
        directory = store.directory("train", key)
        for step in pruned_steps(directory):  # asked again: a run may have computed all of them anew
            remove_tree(directory / checkpoint_folder(step))
        store.unlock(key)
    return True


def remove_leftovers(store: Store, key: str, *, work: bool) -> bool:
    """Remove the half-written files of dead processes, and with `work` what resuming would need; False while a living
    process is at the stage."""
    lock = store.lock(key)
    if lock is None:
        return False
    with closing(lock):
        for path in attempts_of(store, key):
            remove_tree(path)
        if work or not store.has_work(key):
            store.forget(key)
        else:
            store.unlock(key)
    return True


def attempts_of(store: Store, key: str) -> list[Path]:
    """The directories of tries at a stage that were not finished."""
    return sorted((store.root / ".attempts").glob(f"{key}_*"))


def remove_tree(path: Path) -> None:
    """Remove a directory that may be gone, or that another process may be removing too."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if path.exists():  # only something inside it had gone
            remove_tree(path)
