"""What resolving must know of a file: its digest, and whether its text can be used. Remembered between plans.

A fact is remembered by path, size, modification time (ns) and inode. It is advice for planning only: a stage
computes the digest again from the bytes that it reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablab.corpora.fetch_http import Progress

CACHE_VERSION = 3  # of the facts below; raise it when a check changes
_FAULTS_SHOWN = 5


@dataclass(frozen=True)
class FileFacts:
    """Of a file of a suite. `faults` are complete lines that name it."""

    sha256: str
    faults: tuple[str, ...]


class FactCache:
    """Facts of files, kept in one JSON file; with `path` None they are kept for this object's life only.

    heard: told how far a text is read, while that is done.
    """

    def __init__(self, path: Path | None, heard: Progress | None = None) -> None:
        self._path = path
        self.heard: Progress = heard or _unheard
        self._entries: dict[str, Any] = _read_entries(path)
        self._changed = False

    def checked(self, kind: str, path: Path, check: Callable[[Path], FileFacts]) -> FileFacts:
        """What `check` says of the file, by kind of check. What it raises is not remembered. Raises OSError."""
        facts = self.of_files(kind, [path], lambda: asdict(check(path)))
        return FileFacts(facts["sha256"], tuple(facts["faults"]))

    def of_files(self, kind: str, files: Sequence[Path], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The JSON-like facts of a kind that `find` reads from these files; read once. Raises OSError."""
        seen = _seen(files)
        facts = self.known(kind, files)
        if facts is None:
            facts = find()
            self._entries[f"{kind}:{files[0]}"] = {"seen": seen, "facts": facts}
            self._changed = True
        return facts

    def known(self, kind: str, files: Sequence[Path]) -> dict[str, Any] | None:
        """What is remembered of these files as they are now; reads none of them. Raises OSError."""
        entry = self._entries.get(f"{kind}:{files[0]}")
        return entry["facts"] if entry is not None and entry["seen"] == _seen(files) else None

    def of_content(self, name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """JSON-like facts of content that `name` tells by a digest; found once."""
        if name not in self._entries:
            self._entries[name] = {"facts": find()}
            self._changed = True
        facts: dict[str, Any] = self._entries[name]["facts"]
        return facts

    def save(self) -> None:
        """Write what is new under a temporary name and rename it; a reader never sees half a file."""
        if self._path is None or not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        content = {"version": CACHE_VERSION, "files": self._entries}
        temporary.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
        temporary.replace(self._path)
        self._changed = False


def _unheard(_what: str, _done: int, _total: int | None, _unit: str) -> None:
    """For a reading whose progress nobody follows."""


def _seen(files: Sequence[Path]) -> list[list[int]]:
    """What tells a file that was changed."""
    return [[status.st_size, status.st_mtime_ns, status.st_ino] for status in (path.stat() for path in files)]


def first_faults(where: str, faults: list[str]) -> tuple[str, ...]:
    """As many as are worth reading, and how many more there are."""
    if len(faults) <= _FAULTS_SHOWN:
        return tuple(faults)
    return (*faults[:_FAULTS_SHOWN], f"{where}: {len(faults) - _FAULTS_SHOWN} more lines like these")


def _read_entries(path: Path | None) -> dict[str, Any]:
    """What was remembered; nothing when there is no file, or it is of another version or damaged."""
    if path is None or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # a cache may always be made again
        return {}
    if not isinstance(content, dict) or content.get("version") != CACHE_VERSION:
        return {}
    return dict(content["files"])
