"""Exclusive use of a file, ended by the kernel when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO


def try_lock(path: Path) -> BinaryIO | None:
    """The locked file, to be closed; None while another process (or another opening of it) has the lock.

    Raises `OSError` where the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()  # its last holder removed it in between; the lock of a file that nobody finds keeps nobody out


def is_locked(path: Path) -> bool:
    """Whether another process has the lock now. Writes nothing, so a store that is read-only can be asked."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _is_at(file: BinaryIO, path: Path) -> bool:
    """The open file is the one that the path names."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
