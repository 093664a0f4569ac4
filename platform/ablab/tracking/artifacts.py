"""Files of runs and models: hard links or copies on this machine, uploads to a server."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

LINK_BYTES = 1 << 17  # smaller files are copied: a link saves nothing there


def local_folder(location: str) -> Path | None:
    """The folder that an artifact location (`file:` URI or path) names; None when it is not on this machine."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(location)


def put_files(location: str, files: Mapping[str, Path], upload: Callable[[str], None]) -> None:
    """Make `files` (artifact path -> file) the artifacts at `location`.

    On this machine they are placed there; else `upload` is given a folder that holds them under those paths.
    """
    folder = local_folder(location)
    if folder is not None:
        for name, file in files.items():
            place(file, folder / name)
    elif files:
        with tempfile.TemporaryDirectory(prefix="ablab-upload-") as staging:
            for name, file in files.items():
                target = Path(staging) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file.resolve())
            upload(staging)


def place(file: Path, target: Path) -> None:
    """`file` at `target`: a hard link when it is large and on one file system, else a copy.

    What stood at `target` is removed first, never written into: it may be a link to a file of the store.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if file.stat().st_size >= LINK_BYTES:
        try:
            os.link(file, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(file, target)
    else:
        shutil.copyfile(file, target)
