"""Stage directories: begun under a private name, renamed when complete, verified before they are used."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ablab.errors import InputError, RunError
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics
from ablab.store.files import differences, inventory, read_json, sync_directory, write_json
from ablab.store.locks import try_lock

STAGE, RESULT, MANIFEST = "stage.json", "result.json", "manifest.json"
_OWN = (STAGE, RESULT, MANIFEST)
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


class Store:
    """Layout: `<root>/<kind>/<key>/` finished, `.work/<key>/` resumable, `.attempts/` and `.damaged/` private.

    Leases decide who *should* compute a stage. That two processes never do it in one work directory, not even when
    one was suspended and lost its lease, is the lock's doing (`.work/<key>.lock`); that a late finisher
    harms nobody is the rename's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()

    def directory(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """A finished directory is there (its bytes are not read)."""
        return (self.directory(kind, key) / MANIFEST).is_file()

    def has_work(self, key: str) -> bool:
        """An interrupted try left something to go on from."""
        return (self._work(key) / "numerics.json").is_file()

    def begin(self, kind: str, key: str, numerics: Numerics) -> Attempt | None:
        """Make the directories of a try; None when another process is at this stage or has just finished it.

        A resumed stage goes on with the numerics it began with.
        """
        lock = try_lock(self._lock(key))
        if lock is None:
            return None
        with ExitStack() as undo:
            undo.callback(lock.close)
            if self.has(kind, key):
                self._forget(key)
                return None
            if self.directory(kind, key).exists():
                self._move_aside(kind, key)  # without a manifest it never was finished, but it is in the way
            self._clear_attempts(key)
            work = self._work(key)
            work.mkdir(exist_ok=True)
            resumed = self.has_work(key)
            if resumed:
                numerics = _recorded_numerics(work)
            else:
                write_json(work / "numerics.json", numerics.model_dump())
            out = self.root / ".attempts" / f"{key}_{os.getpid()}_{time.time_ns()}"
            out.mkdir(parents=True)
            undo.pop_all()
            return Attempt(kind, key, out, work, numerics, resumed, lock)

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
        try:
            attempt.out.rename(final)
        except OSError:
            if not self.has(attempt.kind, attempt.key):
                raise
            shutil.rmtree(attempt.out)
        sync_directory(final.parent)
        self._forget(attempt.key)
        attempt.lock.close()
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
            files = self.manifest(kind, key)["files"]
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
        finished = {key for key in _keys(self.root / ".work") if any(self.root.glob(f"[!.]*/{key}/{MANIFEST}"))}
        for key in sorted(attempts | finished):
            lock = try_lock(self._lock(key))
            if lock is None:
                continue  # a living process is at it
            with closing(lock):
                self._clear_attempts(key)
                if key in finished:
                    self._forget(key)

    def _work(self, key: str) -> Path:
        return self.root / ".work" / key

    def _lock(self, key: str) -> Path:
        return self.root / ".work" / f"{key}.lock"

    def _clear_attempts(self, key: str) -> None:
        """For the holder of the lock: whoever wrote them is dead."""
        for out in (self.root / ".attempts").glob(f"{key}_*"):
            shutil.rmtree(out, ignore_errors=True)

    def _forget(self, key: str) -> None:
        """Remove the work of a finished stage. Who opened the lock file before looks whether the stage is finished."""
        shutil.rmtree(self._work(key), ignore_errors=True)
        self._lock(key).unlink(missing_ok=True)

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
