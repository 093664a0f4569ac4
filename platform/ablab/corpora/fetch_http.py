"""One file by HTTP, whole and verified: what is received is kept, a broken connection is taken up again."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ablab.errors import InputError, RunError
from ablab.settings import redact
from ablab.store.files import sha256_file

Progress = Callable[[str, int, int | None, str], None]
"""`progress(what, done, total, unit)`; `total` None where it is not known."""

AGAIN = "repeat the command: it goes on from there"
_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30
_STALLS = 3  # attempts in a row that brought nothing
_ATTEMPTS = 50  # for a server that always breaks and cannot resume
_PAUSE_S = 1.0


class _Broken(Exception):
    """The connection ended before the file did."""


def download(
    url: str,
    target: Path,
    digest: str,
    progress: Progress,
    digest_of: Callable[[Path], str] = sha256_file,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Bring `target` there, with this digest. What an earlier call received (`<target>.part`) is not asked for again.

    `headers` go to the server of `url` alone, to none that it redirects to.
    Raises RunError: the server cannot be reached, the digest is another one, the disk is full.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"archive url={url!r} must begin with https:// or http://; correct the declaration")
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    _receive_all(url, part, headers, progress)
    found = digest_of(part)
    if found != digest:
        size = part.stat().st_size
        part.unlink()
        raise RunError(
            f"{redact(url)}: the {size:,} bytes received have the digest {found}, not {digest}; they were removed",
            "repeat the command; if it is the same again, the file was replaced there: declare what you trust",
        )
    part.replace(target)


def enough_space(folder: Path, needed: int, what: str) -> None:
    """Raise RunError when `needed` bytes are more than what is free where `folder` (or its parent) lies."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{what} needs {needed:,} bytes, but {folder} has {free:,} free", "make space and repeat the command"
        )


def _receive_all(url: str, part: Path, headers: Mapping[str, str], progress: Progress) -> None:
    stalls = 0
    for _ in range(_ATTEMPTS):
        before = _size(part)
        try:
            _receive(url, part, headers, progress)
            return
        except (OSError, HTTPException, _Broken) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise RunError(
                    f"the disk is full at {part} ({_size(part):,} bytes)", f"make space, then {AGAIN}"
                ) from error
            stalls = 0 if _size(part) > before else stalls + 1
            final = isinstance(error, HTTPError) and error.code < 500 and error.code not in (408, 429)
            if final or stalls >= _STALLS:
                raise _unreachable(url, part, error) from error
        time.sleep(_PAUSE_S * stalls)
    raise _unreachable(url, part, _Broken(f"broke {_ATTEMPTS} times"))


def _receive(url: str, part: Path, headers: Mapping[str, str], progress: Progress) -> None:
    """One connection: append what is still missing, or begin anew where the server cannot continue."""
    have = _size(part)
    request = Request(url, headers={"User-Agent": "ablab", "Accept-Encoding": "identity"})
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = cast(HTTPResponse, urlopen(request, timeout=_TIMEOUT_S))
    except HTTPError as error:
        if error.code == 416 and have:
            return  # nothing is left to receive; the digest decides
        raise
    with answer:
        if answer.status != 206:
            have = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _Broken(f"answered with another range ({answer.headers.get('Content-Range')})")
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        if total is not None:
            enough_space(part.parent, total - have, redact(url))
        progress(redact(url), have, total, "bytes")
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.read1(_CHUNK_BYTES):
                file.write(chunk)
                file.flush()  # what a kill -9 leaves is what was received
                have += len(chunk)
                progress(redact(url), have, total, "bytes")
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise _Broken(f"broke off after {have:,} of {total:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unreachable(url: str, part: Path, error: Exception) -> RunError:
    kept = _size(part)
    remedy = (
        f"{kept:,} bytes are kept; {AGAIN}" if kept else "check the network and the address, and repeat the command"
    )
    cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return RunError(f"{redact(url)}: {cause}", remedy)
