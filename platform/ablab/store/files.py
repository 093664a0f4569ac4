"""Small file operations that leave either the old state or the new one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write pretty, key-sorted JSON under a temporary name, flush it to the disk and rename it."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # there only when it could not be completed: a full disk, say


def read_json(path: Path) -> Any:
    """Parsed JSON of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_verified(path: Path, header: str, rest: bytes) -> None:
    """One file: the SHA-256 of all that follows, a line, then the rest. Complete or absent, whatever happens meanwhile;
    `<stem>.part` beside it is overwritten."""
    body = header.encode() + b"\n" + rest
    part = path.with_suffix(".part")
    part.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    part.replace(path)


def read_verified(path: Path) -> tuple[str, bytes] | None:
    """Line and rest of such a file if it is there and whole; else None."""
    if not path.is_file():
        return None
    stated, _, body = path.read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != stated:
        return None
    line, _, rest = body.partition(b"\n")  # trusted from here on: the digest covers it
    return line.decode(), rest


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inventory(directory: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file under a directory, by relative POSIX path."""
    return {
        path.relative_to(directory).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def differences(directory: Path, expected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with a directory against its inventory, one line per file; empty when intact."""
    faults = []
    for name, entry in expected.items():
        path = directory / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            faults.append(f"{name} has {path.stat().st_size} bytes, recorded {entry['bytes']}")
        elif sha256_file(path) != entry["sha256"]:
            faults.append(f"{name} has another SHA-256 than recorded")
    return faults


def sync_tree(directory: Path) -> None:
    """Make the files under a directory durable, and their names."""
    for path in (*directory.rglob("*"), directory):
        sync_directory(path)


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory (a rename survives a power cut), or the bytes of a file, durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
