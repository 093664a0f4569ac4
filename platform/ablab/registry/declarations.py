"""Find and load `<project>/ablations/*.py`: each defines `ABLATION = Ablation(...)`; `_*.py` files are helpers.

`read_folder` does the same for another folder and kind of declaration (`ablab.search.declared`). A broken file does not
hide the others: its faults stand beside what could be loaded, and the command decides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

import ablab
from ablab.errors import InputError, did_you_mean
from ablab.registry.project_imports import project_imports
from ablab.spec import Ablation
from ablab.spec.ablation import design_faults
from ablab.spec.base import check_name, faults_of

FOLDER = "ablations"
_PACKAGE = Path(ablab.__file__).parent


class Named(Protocol):
    """What can be declared."""

    @property
    def name(self) -> str: ...


DeclaredT = TypeVar("DeclaredT", bound=Named)


@dataclass(frozen=True)
class Kind(Generic[DeclaredT]):
    """What the files of one folder declare."""

    folder: str
    variable: str
    type: type[DeclaredT]
    designs: Callable[[DeclaredT], dict[str, Any]]
    """The declared designs by scale."""
    design_faults: Callable[[Any, str], list[str]]
    """Every fault of one design, each beginning with the given place."""


ABLATIONS = Kind(FOLDER, "ABLATION", Ablation, lambda ablation: ablation.designs, design_faults)


@dataclass(frozen=True)
class Loaded:
    """A declaration without faults, and the file it stands in."""

    ablation: Ablation
    path: Path


@dataclass(frozen=True)
class Broken:
    """What is wrong with one file, or with one name that two files claim."""

    name: str
    """The ablation's name; the file's stem with dashes where it could not be read."""
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Declarations:
    """Everything under `ablations/`, by name in alphabetical order."""

    project: Path
    ablations: dict[str, Loaded]
    broken: tuple[Broken, ...]

    @property
    def faults(self) -> list[str]:
        """Every fault of every file, one line each."""
        return [fault for broken in self.broken for fault in broken.faults]

    def find(self, name: str) -> Loaded:
        """The declaration of that name. Raises `InputError`: not a name, its faults, or unknown (did you mean)."""
        plain_name(name)
        if name in self.ablations:
            return self.ablations[name]
        own = [fault for broken in self.broken if broken.name == name for fault in broken.faults]
        if own:
            raise InputError(own)
        known = sorted({*self.ablations, *(broken.name for broken in self.broken)})
        hint = did_you_mean(name, known)
        if not (self.project / FOLDER).is_dir():
            hint = f"there is no folder {FOLDER}/ in {self.project}; go to the project or set ABLAB_PROJECT"
        # a file that cannot be read may hold any name
        raise InputError([f"no ablation is named {name!r}; {hint}", *self.faults])


def plain_name(name: str) -> str:
    """The name itself if it may become part of a path; `InputError` otherwise."""
    try:
        return check_name(name)
    except ValueError as error:
        raise InputError(str(error)) from error


def load_declarations(project: Path) -> Declarations:
    """Read every declaration of a project afresh. Raises nothing for what is wrong inside: see `Declarations`."""
    root = project.resolve()
    found, broken = read_folder(root, ABLATIONS)
    return Declarations(root, {one.name: Loaded(one, path) for one, path in found}, broken)


def read_folder(root: Path, kind: Kind[DeclaredT]) -> tuple[list[tuple[DeclaredT, Path]], tuple[Broken, ...]]:
    """The usable declarations of one kind with their files, by name, and what is wrong with the others."""
    loaded: list[tuple[DeclaredT, Path]] = []
    broken: list[Broken] = []
    with project_imports(root):
        for path in _files(root / kind.folder):
            declared, faults = _load(path, root, kind)
            if declared is not None:
                loaded.append((declared, path))
            if faults:
                name = path.stem.replace("_", "-") if declared is None else declared.name
                broken.append(Broken(name, tuple(faults)))
    doubles = tuple(_doubles(loaded, root))
    unusable = {entry.name for entry in (*broken, *doubles)}
    usable = sorted((one for one in loaded if one[0].name not in unusable), key=lambda one: one[0].name)
    return usable, (*broken, *doubles)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if path.is_file() and not path.name.startswith(("_", ".")))


def _doubles(loaded: Sequence[tuple[Named, Path]], root: Path) -> Iterator[Broken]:
    names = [one.name for one, _ in loaded]
    for name in sorted({n for n in names if names.count(n) > 1}):
        files = " and ".join(_shown(path, root) for one, path in loaded if one.name == name)
        yield Broken(name, (f"{files} declare the same name {name!r}; rename all but one",))


def _load(path: Path, root: Path, kind: Kind[DeclaredT]) -> tuple[DeclaredT | None, list[str]]:
    """The declaration of one file, where it can be read, and every fault of it."""
    shown, wanted = _shown(path, root), kind.type.__name__
    module = ModuleType(f"ablab_declaration_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # classes defined in the file look themselves up there
    try:
        # compiled here and not by a loader: bytecode of an edit within one clock tick would be stale
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:  # a declaration is a program: whatever it raises is its fault
        return None, _import_faults(error, path, root)
    finally:
        del sys.modules[module.__name__]
    declared = getattr(module, kind.variable, None)
    if declared is None:
        remedy = f"add {kind.variable} = {wanted}(...), or start the file's name with '_'"
        return None, [f"{shown}: defines no {kind.variable}; {remedy}"]
    if not isinstance(declared, kind.type):
        public = f"{kind.type.__module__.rpartition('.')[0]}.{wanted}"
        return None, [f"{shown}: {kind.variable} is a {type(declared).__name__}; it must be an {public}"]
    faults = []
    for scale, design in kind.designs(declared).items():
        faults += kind.design_faults(design, f"{shown}: {scale}")
    return declared, faults


def _import_faults(error: BaseException, path: Path, root: Path) -> list[str]:
    where = _where(error, path, root)
    if isinstance(error, ValidationError):
        return faults_of(error, f"{where}: {error.title}")
    if isinstance(error, InputError):
        return [f"{where}: {fault}" for fault in error.faults]
    message = " ".join(str(error).split())
    return [f"{where}: does not import: {type(error).__name__}" + (f": {message}" if message else "")]


def _where(error: BaseException, path: Path, root: Path) -> str:
    """`file:line` in the declaration, and the project's own line that raised where that is another one."""
    frames = [(Path(file), line) for file, line in _frames(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((Path(error.filename), error.lineno or 1))
    own = [line for file, line in frames if file == path]
    where = f"{_shown(path, root)}:{own[-1]}" if own else _shown(path, root)
    inside = [(file, line) for file, line in frames if _is_of_project(file, root)]
    if inside and inside[-1][0] != path:
        where += f" (raised at {_shown(inside[-1][0], root)}:{inside[-1][1]})"
    return where


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _is_of_project(file: Path, root: Path) -> bool:
    """A file of the user: not ablab's own, and not in an environment that lies in the project."""
    if not file.is_relative_to(root) or file.is_relative_to(_PACKAGE):
        return False
    return not any(part.startswith(".") or part == "site-packages" for part in file.relative_to(root).parts)


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root))
