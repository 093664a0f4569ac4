"""EWoK (Ivanova et al. 2024) from its encrypted zip. Its text is in memory alone: in no file, cache or message.

What is supported is the traditional encryption of zip files (ZipCrypto), which `zip -e` makes.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from ablab.corpora.filecheck import FileFacts, first_faults
from ablab.corpora.pairs import NotARow, Question, world_knowledge
from ablab.errors import RunError

PASSWORD = "ABLAB_EWOK_PASSWORD"

_AES = 99
_STRONG = 0x40
_REDO = "make it again with `zip -e` (7-Zip: -mem=ZipCrypto)"


class Unreadable(Exception):
    """The zip cannot be read; the message says why and what to do. Never remembered: it depends on the password."""


def domains(path: Path) -> dict[str, str]:
    """Members that hold items, by file name. Raises `Unreadable` for what is no such zip, OSError."""
    return _members(_open(path, path.read_bytes()))


def check_password(path: Path) -> None:
    """Try the password on every member's header, which is quick. Raises `Unreadable`, OSError."""
    archive = _open(path, path.read_bytes())
    password = _password(path)
    for member in _members(archive).values():
        try:
            archive.open(member, pwd=password).close()
        except RuntimeError:
            raise _wrong_password(path) from None


def check_archive(path: Path) -> FileFacts:
    """Digest of the zip, and lines that are no rows, by member and number. Raises `Unreadable`, OSError."""
    data = path.read_bytes()
    archive = _open(path, data)
    faults: list[str] = []
    for name, member in _members(archive).items():
        where = f"{path}: {name}"
        lines = _lines(path, archive, member)
        if lines is None:
            faults.append(f"{where}: invalid UTF-8; convert the file to UTF-8")
        elif not any(line.strip() for line in lines):
            faults.append(f"{where}: the file holds no rows; fill or remove it")
        else:
            faults += [f"{where}:{number}: {reason}" for number, reason in _line_faults(lines)]
    return FileFacts(hashlib.sha256(data).hexdigest(), first_faults(str(path), faults))


def read_archive(path: Path, digest: str, only: str | None = None) -> dict[str, list[Question]]:
    """The questions of every domain (or of one), by task, in memory.

    Raises `RunError`: the file is not the one that the recipe was resolved with, or cannot be read.
    """
    remedy = "put the file back as it was, or start the run again to use it as it is"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}", remedy) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise RunError(f"{path} changed since the run began (its SHA-256 is no longer {digest[:12]}...)", remedy)
    try:
        archive = _open(path, data)
        tasks = {PurePosixPath(name).stem: member for name, member in _members(archive).items()}
        return {task: _questions(path, archive, tasks[task]) for task in sorted(tasks) if only in (None, task)}
    except Unreadable as error:
        raise RunError(str(error)) from None


def with_text(row: Mapping[str, Any], text: Sequence[Question]) -> dict[str, Any]:
    """A row of the suite, which has its id alone, with what it asks: its number says which question that is."""
    number = int(row["id"].rpartition("/")[2])
    if number >= len(text):
        raise RunError(f"item {row['id']}: the zip holds {len(text)} rows", "evaluate with the zip of this suite")
    return {**row, "context": text[number].context, "options": list(text[number].options)}


def _questions(path: Path, archive: zipfile.ZipFile, member: str) -> list[Question]:
    """Rows of a domain. Those with the same two contexts are a cluster, named by the number of the first."""
    first: dict[frozenset[str], int] = {}
    questions: list[Question] = []
    try:
        for line in filter(str.strip, _lines(path, archive, member) or ()):
            contexts, question = world_knowledge(line)
            number = first.setdefault(contexts, len(questions))
            questions.append(question._replace(cluster=f"{PurePosixPath(member).stem}#{number}"))
    except NotARow as error:
        raise Unreadable(f"{path}: {member}: {error}; correct or remove the line") from None
    return questions


def _line_faults(lines: list[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                world_knowledge(line)
        except NotARow as error:
            yield number, f"{error}; correct or remove the line"


def _open(path: Path, data: bytes) -> zipfile.ZipFile:
    """The zip, if everything in it can be decrypted in principle."""
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except zipfile.BadZipFile:
        raise Unreadable(f"{path} is not a zip file; EWoK is read from its encrypted zip") from None
    infos = [archive.getinfo(member) for member in _members(archive).values()]
    if len(infos) < len(_paths(archive)):
        raise Unreadable(f"{path} holds two files of one name; make a zip of one folder")
    if not infos:
        raise Unreadable(f"{path} holds no *.jsonl; give the zip that holds EWoK's domains")
    if any(info.compress_type == _AES or info.flag_bits & _STRONG for info in infos):
        raise Unreadable(f"{path} is encrypted with AES; only the traditional encryption is supported: {_REDO}")
    if not all(info.flag_bits & 1 for info in infos):
        raise Unreadable(f"{path} is not encrypted, but EWoK's terms ask for a zip with a password; {_REDO}")
    odd = [info.compress_type for info in infos if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    if odd:
        raise Unreadable(f"{path} is compressed with method {odd[0]}; only deflate is supported: {_REDO}")
    return archive


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    """Names in the zip by file name."""
    return {path.name: str(path) for path in _paths(archive)}


def _paths(archive: zipfile.ZipFile) -> list[PurePosixPath]:
    """Files of rows; what file managers of macOS add is passed over."""
    paths = [PurePosixPath(name) for name in archive.namelist() if name.endswith(".jsonl")]
    return sorted(path for path in paths if path.parts[0] != "__MACOSX" and not path.name.startswith("."))


def _lines(path: Path, archive: zipfile.ZipFile, member: str) -> list[str] | None:
    """Lines of a member; None if they are not UTF-8."""
    try:
        return archive.read(member, pwd=_password(path)).decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    except (RuntimeError, zipfile.BadZipFile, zlib.error):
        raise _wrong_password(path) from None


def _password(path: Path) -> bytes:
    value = os.environ.get(PASSWORD)
    if not value:
        raise Unreadable(f"{path} is encrypted; set {PASSWORD} to its password")
    return value.encode("utf-8")


def _wrong_password(path: Path) -> Unreadable:
    return Unreadable(f"{path} cannot be decrypted with the password in {PASSWORD}; correct it, or fetch the zip again")
