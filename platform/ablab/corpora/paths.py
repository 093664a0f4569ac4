"""Where a stated path leads, and what is said of one that leads nowhere."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path


def absolute(path: str, data: Path) -> Path:
    """A path of a recipe; relative ones start at `data` (`ABLAB_DATA`)."""
    return (data / Path(path).expanduser()).absolute()


def changed(path: Path, declared: str, found: str) -> str:
    """The fault of a file that is not the declared one."""
    return (
        f"{path}: its SHA-256 is {found[:12]}..., the recipe declares {declared[:12]}...; "
        "put the declared file there, or declare the new digest"
    )


def no_folder(where: str, stated: str, folder: Path, data: Path) -> str:
    """The fault of a path that is no folder."""
    return f"{where}: path={stated!r} is not a folder (looked for {folder}){_start(stated, data)}"


def expand(patterns: Iterable[str], data: Path, where: str) -> tuple[list[Path], list[str]]:
    """The files that paths and patterns name, each once and in the order of their names, and faults."""
    found: set[Path] = set()
    faults: list[str] = []
    for pattern in patterns:
        path = absolute(pattern, data)
        if path.is_file():
            found.add(path)
            continue
        if path.is_dir():
            faults.append(f"{where}={pattern!r} is a folder; name its files, for example {pattern.rstrip('/')}/*.txt")
            continue
        stated = str(Path(pattern).expanduser())
        matches = (data / match for match in glob.iglob(stated, root_dir=data, recursive=True))  # noqa: PTH207
        files = [match.absolute() for match in matches if match.is_file()]
        found.update(files)
        if not files:
            what = "matches no file" if glob.has_magic(pattern) else "is not a file"
            faults.append(f"{where}={pattern!r} {what} (looked for {path}){_start(pattern, data)}")
    return sorted(found), faults


def _start(stated: str, data: Path) -> str:
    return "" if Path(stated).expanduser().is_absolute() else f"; relative paths start at ABLAB_DATA ({data})"
