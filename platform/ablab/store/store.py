"""Stage directories: begun under a private name, renamed when complete, verified before they are used."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ablab.errors import InputError, RunError
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics
from ablab.store.context import LIVE_FILE, RESUMABLE
from ablab.store.files import differences, inventory, read_json, sync_directory, write_json
from ablab.store.locks import is_locked, try_lock
from ablab.store.pruned import PRUNED, pruned_steps, read_pruned, without_pruned

STAGE, RESULT, MANIFEST = "stage.json", "result.json", "manifest.json"
_OWN = (STAGE, RESULT, MANIFEST, PRUNED)
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Attempt:
    """One try at a stage: `out` is new and empty, `work` is what an interrupted try left.

    `lock` keeps every other process out of both until the try is committed, discarded, or its process dead.
    """

    kind: str
    key: str
    out: Path
    work: Path
    numerics: Numerics
    resumed: bool
    lock: BinaryIO
    replaces: bool = False
    """A finished training is there whose checkpoints were removed in part; it stays until this try is committed."""


class Store:
    """Layout: `<root>/<kind>/<key>/` finished, `.work/<key>/` resumable, `.attempts/`, `.damaged/`, `.trash/` private.

    Leases decide who *should* compute a stage. That two processes never do it in one work directory, not even when
    one was suspended and lost its lease, is the lock's doing (`.work/<key>.lock`); that a late finisher
    harms nobody is the rename's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()

    def directory(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def has(self, kind: str, key: str, steps: Collection[int] = ()) -> bool:
        """A finished directory is there (its bytes are not read), and none of these checkpoints was removed from it."""
        directory = self.directory(kind, key)
        return (directory / MANIFEST).is_file() and not (steps and pruned_steps(directory) & frozenset(steps))

    def has_work(self, key: str) -> bool:
        """An interrupted try left something to go on from; numerics alone are nothing."""
        work = self.work(key)
        return (work / "numerics.json").is_file() and any(any(work.glob(pattern)) for pattern in RESUMABLE)

    def begin(self, kind: str, key: str, numerics: Numerics, steps: Collection[int] = ()) -> Attempt | None:
        """Make the directories of a try; None when another process is at this stage or has just finished it.

        A resumed stage goes on with the numerics it began with, but for a number of ranks that is given, and one that
        is computed again because checkpoints (`steps`) were removed has those that it was computed with. A try that
        ended before there was anything to resume binds nobody: it may have failed because of its numerics.
        """
        lock = try_lock(self._lock(key))
        if lock is None:
            return None
        with ExitStack() as undo:
            undo.callback(lock.close)
            if self.has(kind, key, steps):
                self.forget(key)
                return None
            replaces = self.has(kind, key)
            if not replaces and self.directory(kind, key).exists():
                self._move_aside(kind, key)  # without a manifest it never was finished, but it is in the way
            self._clear_attempts(key)
            work = self.work(key)
            work.mkdir(exist_ok=True)
            resumed = self.has_work(key)
            if resumed:
                numerics = _recorded_numerics(work).continued(numerics)
            else:
                _clear_work(work)
                numerics = self._numerics_again(kind, key, numerics) if replaces else numerics
            write_json(work / "numerics.json", numerics.model_dump())
            out = self.root / ".attempts" / f"{key}_{os.getpid()}_{time.time_ns()}"
            out.mkdir(parents=True)
            undo.pop_all()
            return Attempt(kind, key, out, work, numerics, resumed, lock, replaces)

    def begin_ahead(self, key: str, numerics: Numerics) -> Path:
        """The work directory of a stage whose inputs are not complete yet, for what can be done of it before: it will
        go on from that, with these numerics. What is there of others is removed."""
        work = self.work(key)
        if not (self.has_work(key) and _recorded_numerics(work) == numerics):
            work.mkdir(parents=True, exist_ok=True)
            _clear_work(work)
            write_json(work / "numerics.json", numerics.model_dump())
        return work

    def commit(
        self, attempt: Attempt, identity: Mapping[str, Any], result: Mapping[str, Any], execution: Mapping[str, Any]
    ) -> Path:
        """Complete a try: write its three JSON files and rename it. If another finished first, theirs stays."""
        _refuse_what_is_not_a_stage_file(attempt)
        write_json(attempt.out / STAGE, dict(identity))
        write_json(attempt.out / RESULT, dict(result))
        files = inventory(attempt.out)
        manifest = {"files": files, "numerics": attempt.numerics.model_dump(), **execution}
        write_json(attempt.out / MANIFEST, manifest)
        sync_directory(attempt.out)
        final = self.directory(attempt.kind, attempt.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        old = self.to_trash(final) if attempt.replaces else None
        try:
            attempt.out.rename(final)
        except OSError:
            if not self.has(attempt.kind, attempt.key):
                raise
            shutil.rmtree(attempt.out)
        sync_directory(final.parent)
        self.forget(attempt.key)
        attempt.lock.close()
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def discard(self, attempt: Attempt) -> None:
        """Forget the files of a failed try; what resuming needs stays. Safe after `commit`."""
        shutil.rmtree(attempt.out, ignore_errors=True)
        attempt.lock.close()

    def identity(self, kind: str, key: str) -> dict[str, Any]:
        value: dict[str, Any] = read_json(self.directory(kind, key) / STAGE)
        return value

    def result(self, kind: str, key: str) -> dict[str, Any]:
        value: dict[str, Any] = read_json(self.directory(kind, key) / RESULT)
        return value

    def manifest(self, kind: str, key: str) -> dict[str, Any]:
        value: dict[str, Any] = read_json(self.directory(kind, key) / MANIFEST)
        return value

    def faults(self, kind: str, key: str) -> list[str]:
        """What is damaged in a finished stage; [] when every byte is as recorded. Reads everything once."""
        if key in self._verified:
            return []
        directory = self.directory(kind, key)
        try:
            files = without_pruned(self.manifest(kind, key)["files"], read_pruned(directory))
            found = [f"{MANIFEST} does not list {name}" for name in (STAGE, RESULT) if name not in files]
            found += differences(directory, files)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            return [f"{MANIFEST} cannot be used: {type(error).__name__}: {error}"]
        if not found and digest(read_json(directory / STAGE)) != key:
            found = [f"{STAGE} is that of another stage"]
        if not found:
            self._verified.add(key)
        return found

    def set_aside(self, kind: str, key: str) -> Path | None:
        """Move a damaged stage out of the way (it is kept for inspection), so that it is computed again.

        None when that is not called for any more: another process has moved or replaced it, or is about to.
        """
        lock = try_lock(self._lock(key))
        if lock is None:
            return None
        with closing(lock):
            gone = not self.directory(kind, key).exists()
            return None if gone or not self.faults(kind, key) else self._move_aside(kind, key)

    def finished(self) -> Iterator[tuple[str, str]]:
        """(kind, key) of every finished stage."""
        if not self.root.is_dir():
            return
        for manifest in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            kind, key = manifest.parts[-3:-1]
            if not kind.startswith(".") and _KEY.fullmatch(key):
                yield kind, key

    def sweep(self) -> None:
        """Remove what dead processes left: half-written files, and the work of stages that are finished."""
        attempts = _keys(self.root / ".attempts")
        finished = {key for key in _keys(self.root / ".work") if self._is_whole(key)}
        for key in sorted(attempts | finished):
            lock = try_lock(self._lock(key))
            if lock is None:
                continue  # a living process is at it
            with closing(lock):
                self._clear_attempts(key)
                if key in finished:
                    self.forget(key)
        for path in (self.root / ".trash").glob("*"):
            shutil.rmtree(path, ignore_errors=True)

    def lock(self, key: str) -> BinaryIO | None:
        """Keeps every other process from computing, replacing or removing a stage until it is closed; None if one is
        at it."""
        return try_lock(self._lock(key))

    def is_locked(self, key: str) -> bool:
        """Another process is at this stage. Writes nothing."""
        return is_locked(self._lock(key))

    def forget(self, key: str) -> None:
        """For the holder of the lock: remove the work of a stage that is not to be resumed, and the lock's file."""
        shutil.rmtree(self.work(key), ignore_errors=True)
        self.unlock(key)

    def unlock(self, key: str) -> None:
        """For the holder of the lock: remove its file. Nobody holds it once it is closed."""
        self._lock(key).unlink(missing_ok=True)

    def to_trash(self, path: Path) -> Path:
        """Take a directory out of the store in one step, whatever happens next; where it is then, to be removed."""
        target = self.root / ".trash" / f"{path.parent.name}-{path.name}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        sync_directory(path.parent)
        return target

    def _is_whole(self, key: str) -> bool:
        """A finished stage from which nothing was removed: nobody will compute it again."""
        return any(not pruned_steps(found.parent) for found in self.root.glob(f"[!.]*/{key}/{MANIFEST}"))

    def _numerics_again(self, kind: str, key: str, numerics: Numerics) -> Numerics:
        """Those of the finished stage, which give its bytes again, but for ranks that are given; where its device is
        not used, the given ones."""
        recorded = Numerics.model_validate(self.manifest(kind, key)["numerics"])
        return recorded.continued(numerics) if recorded.device == numerics.device else numerics

    def work(self, key: str) -> Path:
        """What resuming a stage needs, while it is not finished."""
        return self.root / ".work" / key

    def _lock(self, key: str) -> Path:
        return self.root / ".work" / f"{key}.lock"

    def _clear_attempts(self, key: str) -> None:
        """For the holder of the lock: whoever wrote them is dead."""
        for out in (self.root / ".attempts").glob(f"{key}_*"):
            shutil.rmtree(out, ignore_errors=True)

    def _move_aside(self, kind: str, key: str) -> Path:
        target = self.root / ".damaged" / f"{kind}-{key}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.directory(kind, key).rename(target)
        return target


def check_writable(root: Path) -> None:
    """Fail before work, not after it, when the store cannot be written or its file system has no locks."""
    probe = root / f".probe-{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = try_lock(probe)
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"store {root} cannot be written and locked: {error.strerror}; set ABLAB_STORE or ABLAB_HOME to a folder "
            "of a file system with locks"
        ) from error
    if lock is not None:
        lock.close()


def _clear_work(work: Path) -> None:
    """Remove what a try left that had nothing to resume, but for the file that its publisher may be reading."""
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LIVE_FILE:
            path.unlink()


def _recorded_numerics(work: Path) -> Numerics:
    try:
        return Numerics.model_validate(read_json(work / "numerics.json"))
    except ValueError as error:
        raise RunError(
            f"the numerics that the interrupted stage began with cannot be read: {error}",
            f"remove {work}: the stage then begins anew",
        ) from error


def _refuse_what_is_not_a_stage_file(attempt: Attempt) -> None:
    """Names of the store's own, and links, whose content could change after it was recorded."""
    clash = [name for name in _OWN if (attempt.out / name).exists()]
    if clash:
        raise RunError(f"stage {attempt.kind} wrote {', '.join(clash)}, names that belong to the store")
    links = [path.relative_to(attempt.out).as_posix() for path in sorted(attempt.out.rglob("*")) if path.is_symlink()]
    if links:
        raise RunError(f"stage {attempt.kind} wrote {', '.join(links)}: symbolic links; a stage holds files")


def _keys(folder: Path) -> set[str]:
    """Keys that the names in a private folder begin with."""
    return {found[0] for path in folder.glob("*") if (found := _KEY.match(path.name))}
