"""Where a stated path leads, and what is said of one that leads nowhere."""

from __future__ import annotations

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
    hint = "" if Path(stated).expanduser().is_absolute() else f"; relative paths start at ABLAB_DATA ({data})"
    return f"{where}: path={stated!r} is not a folder (looked for {folder}){hint}"
