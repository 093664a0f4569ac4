"""Exclusive use of a file, ended by the kernel when its process ends, however it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import BinaryIO


def try_lock(path: Path) -> BinaryIO | None:
    """The locked file, to be closed; None while another process (or another opening of it) has the lock.

    Raises `OSError` where the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file
