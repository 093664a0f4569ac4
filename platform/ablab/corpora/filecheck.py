"""What resolving must know of a file: its digest, and whether its text can be used. Remembered between plans.

A fact is remembered by path, size, modification time (ns) and inode. It is advice for planning only: a stage
computes the digest again from the bytes that it reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablab.corpora.pairs import NotAPair, sentence_pair
from ablab.corpora.sources import InvalidText, text_chunks

CACHE_VERSION = 1  # of the facts below; raise it when a check changes
_FAULTS_SHOWN = 5


@dataclass(frozen=True)
class FileFacts:
    """`faults` are complete lines that name the file; then the counts mean nothing."""

    sha256: str
    words: int
    """Whitespace words of a text; 0 for sentence pairs."""
    faults: tuple[str, ...]


class FactCache:
    """Facts of files, kept in one JSON file; with `path` None they are kept for this object's life only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[str, Any] = _read_entries(path)
        self._changed = False

    def text(self, path: Path) -> FileFacts:
        """Facts of a corpus file. Raises OSError."""
        return self._facts("text", path, check_text)

    def pairs(self, path: Path) -> FileFacts:
        """Facts of a file of sentence pairs. Raises OSError."""
        return self._facts("pairs", path, check_pairs)

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

    def _facts(self, kind: str, path: Path, check: Callable[[Path], FileFacts]) -> FileFacts:
        status = path.stat()
        seen = [status.st_size, status.st_mtime_ns, status.st_ino]
        name = f"{kind}:{path}"
        entry = self._entries.get(name)
        if entry is not None and entry["seen"] == seen:
            facts = entry["facts"]
            return FileFacts(facts["sha256"], facts["words"], tuple(facts["faults"]))
        found = check(path)
        self._entries[name] = {"seen": seen, "facts": asdict(found)}
        self._changed = True
        return found


def check_text(path: Path) -> FileFacts:
    """Digest, UTF-8 and words of a corpus file, in one reading and bounded memory."""
    hasher = hashlib.sha256()
    words = 0
    with path.open("rb") as file:
        try:
            for chunk in text_chunks(file, hasher):
                words += len(chunk.split())
        except InvalidText as error:
            fault = f"{path}: invalid UTF-8 at byte offset {error.offset}; convert the file to UTF-8"
            return FileFacts("", 0, (fault,))
    faults = () if words else (f"{path}: the file holds no words; give it text or leave the source out",)
    return FileFacts(hasher.hexdigest(), words, faults)


def check_pairs(path: Path) -> FileFacts:
    """Digest of a suite file, and its lines that are not sentence pairs."""
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        fault = f"{path}: invalid UTF-8 at byte offset {error.start}; convert the file to UTF-8"
        return FileFacts(sha256, 0, (fault,))
    faults = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                sentence_pair(line)
        except NotAPair as error:
            faults.append(f"{path}:{number}: {error}; correct or remove the line")
    if not data.strip():
        faults = [f"{path}: the file holds no sentence pairs; fill or remove it"]
    if len(faults) > _FAULTS_SHOWN:
        faults = [*faults[:_FAULTS_SHOWN], f"{path}: {len(faults) - _FAULTS_SHOWN} more lines like these"]
    return FileFacts(sha256, 0, tuple(faults))


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
