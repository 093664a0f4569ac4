"""Stage directories: begun under a private name, renamed when complete, verified before they are used."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablab.errors import InputError, RunError
from ablab.spec.placement import Numerics
from ablab.store.files import differences, inventory, read_json, sync_directory, write_json

STAGE, RESULT, MANIFEST = "stage.json", "result.json", "manifest.json"
_OWN = (STAGE, RESULT, MANIFEST)


@dataclass(frozen=True)
class Attempt:
    """One try at a stage: `out` is new and empty, `work` is what an interrupted try left."""

    kind: str
    key: str
    out: Path
    work: Path
    numerics: Numerics
    resumed: bool


class Store:
    """Layout: `<root>/<kind>/<key>/` finished, `.work/<key>/` resumable, `.attempts/` and `.damaged/` private."""

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
        return (self.root / ".work" / key / "numerics.json").is_file()

    def begin(self, kind: str, key: str, numerics: Numerics) -> Attempt:
        """Make the directories of a try. A resumed stage goes on with the numerics it began with."""
        work = self.root / ".work" / key
        work.mkdir(parents=True, exist_ok=True)
        recorded = work / "numerics.json"
        resumed = recorded.is_file()
        if resumed:
            numerics = Numerics.model_validate(read_json(recorded))
        else:
            write_json(recorded, numerics.model_dump())
        out = self.root / ".attempts" / f"{key}_{os.getpid()}_{time.time_ns()}_{socket.gethostname()}"
        out.mkdir(parents=True)
        return Attempt(kind, key, out, work, numerics, resumed)

    def commit(
        self, attempt: Attempt, identity: Mapping[str, Any], result: Mapping[str, Any], execution: Mapping[str, Any]
    ) -> Path:
        """Complete a try: write its three JSON files and rename it. If another finished first, theirs stays."""
        clash = [name for name in _OWN if (attempt.out / name).exists()]
        if clash:
            raise RunError(f"stage {attempt.kind} wrote {', '.join(clash)}, names that belong to the store")
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
            if not (final / MANIFEST).is_file():
                raise
            shutil.rmtree(attempt.out)
        sync_directory(final.parent)
        shutil.rmtree(attempt.work, ignore_errors=True)
        return final

    def discard(self, attempt: Attempt) -> None:
        """Forget the files of a failed try; what resuming needs stays."""
        shutil.rmtree(attempt.out, ignore_errors=True)

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
        except (ValueError, KeyError, OSError) as error:
            return [f"{MANIFEST} cannot be read: {error}"]
        found = differences(directory, files)
        if not found:
            self._verified.add(key)
        return found

    def set_aside(self, kind: str, key: str) -> Path:
        """Move a damaged stage out of the way (it is kept for inspection), so that it is computed again."""
        target = self.root / ".damaged" / f"{kind}-{key}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.directory(kind, key).rename(target)
        return target

    def finished(self) -> Iterator[tuple[str, str]]:
        """(kind, key) of every finished stage."""
        if not self.root.is_dir():
            return
        for manifest in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            if not manifest.parent.parent.name.startswith("."):
                yield manifest.parent.parent.name, manifest.parent.name

    def sweep_attempts(self) -> None:
        """Remove what killed processes of this host left half written."""
        for out in (self.root / ".attempts").glob(f"*_{socket.gethostname()}"):
            if not process_alive(int(out.name.split("_")[1])):
                shutil.rmtree(out, ignore_errors=True)


def process_alive(pid: int) -> bool:
    """True while a process of this host has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_writable(root: Path) -> None:
    """Fail before work, not after it, when the store cannot be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"store {root} cannot be written: {error.strerror}; set ABLAB_STORE or ABLAB_HOME") from error
