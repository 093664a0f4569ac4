"""Import the modules of one project and leave no trace of it in the process."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_LOCK = threading.RLock()  # `sys.path` and `sys.modules` belong to the whole process


@contextmanager
def project_imports(root: Path) -> Iterator[None]:
    """Put `root` first on `sys.path`, so that `from experiments.scales import smoke` finds this project's file.

    Afterwards `sys.path` is what it was, every module that came from `root` is forgotten and what had its name
    before is back, so several projects can be read in one process and an edited file is read again. Writes no
    bytecode.
    """
    with _LOCK:
        path, no_bytecode = list(sys.path), sys.dont_write_bytecode
        hidden = {name: sys.modules.pop(name) for name in _names_to_hide(root)}
        sys.path.insert(0, str(root))
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            for name in _names_from(root):  # before sys.path is restored: namespace packages look at it
                del sys.modules[name]
            sys.modules.update(hidden)
            sys.path[:] = path
            sys.dont_write_bytecode = no_bytecode
            sys.path_importer_cache.pop(str(root), None)


def _names_to_hide(root: Path) -> list[str]:
    """Loaded modules that would be taken for the project's own: a test's `experiments`, another project's."""
    return _with_submodules({top for top in _top_names() if _provides(root, top)})


def _names_from(root: Path) -> list[str]:
    return _with_submodules({top for top in _top_names() if _lies_in(sys.modules[top], root)})


def _with_submodules(tops: set[str]) -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in tops]


def _top_names() -> list[str]:
    """Loaded top-level modules that a project may replace: neither Python's own nor ablab."""
    kept = {*sys.stdlib_module_names, "ablab", "__main__"}
    return [name for name in sys.modules if "." not in name and name not in kept]


def _provides(root: Path, top: str) -> bool:
    if (root / f"{top}.py").is_file() or (root / top / "__init__.py").is_file():
        return True
    # a folder without __init__.py is found only where no regular module has the name
    return (root / top).is_dir() and getattr(sys.modules[top], "__file__", None) is None


def _lies_in(module: ModuleType, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    if file is not None:
        folder = Path(file).parent
        return folder == root or (folder.parent == root and Path(file).name == "__init__.py")
    return any(Path(folder).parent == root for folder in getattr(module, "__path__", ()))
