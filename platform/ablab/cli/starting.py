"""`ablab init` starts a project of one's own; `ablab new` writes a declaration to edit."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from string import Template

from ablab.errors import InputError
from ablab.registry.declarations import FOLDER, Declarations, load_declarations, plain_name
from ablab.registry.versions import pinned_names
from ablab.settings import load_settings

PROJECT = {
    ".gitignore": "gitignore",
    "README.md": "README.md",
    "ablations/self_training.py": "self_training.py",
    "experiments/__init__.py": "experiments_init.py",
    "experiments/recipes.py": "recipes.py",
}
"""Files of a new project, and the template of each."""
EMPTY = ("data",)
"""Folders of a new project that hold nothing yet."""

RECIPES, START = "experiments", "smoke"
_ALLOWED = {".git"}  # what a folder may hold that is called empty
_SHOWN = 8


def init(arguments: argparse.Namespace) -> None:
    """A project with one small ablation that runs at once. Refuses a folder that holds anything."""
    folder = Path(arguments.directory).expanduser()
    _check_empty(folder)
    with _writing(folder):
        for name in EMPTY:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, template in PROJECT.items():
            _write(folder / name, _filled(template, {"name": folder.resolve().name}))
    print(f"made {folder}: a project with one ablation, self-training")
    run, ablab = _callable("run-ablation"), _callable("ablab")
    _print_next(
        "Next:",
        *([(f"cd {shlex.quote(str(folder))}", "")] if folder.resolve() != Path.cwd() else []),
        (f"{run} self-training --plan", "what it would compute; computes nothing"),
        (f"{run} self-training", "compute it: about a minute on two cores"),
        (f"{ablab} new NAME", "then write an ablation of your own"),
    )
    elsewhere = os.environ.get("ABLAB_PROJECT")
    if elsewhere and Path(elsewhere).expanduser().resolve() != folder.resolve():
        print(f"\nABLAB_PROJECT={elsewhere} names another project: `unset ABLAB_PROJECT` to work in this one")


def new(arguments: argparse.Namespace) -> None:
    """A declaration that is valid as written. Never overwrites a file, and never takes a name that is taken."""
    project = load_settings().project
    name = plain_name(arguments.name)
    path = project / FOLDER / f"{re.sub('[^A-Za-z0-9]', '_', name)}.py"
    shown = os.path.relpath(path)
    declarations = _declarations(project)
    _check_free(name, path, shown, declarations)
    written: list[Path] = []
    if arguments.source is None:
        module = _start_module(project)
        if module is None:
            module = "recipes"
            for place, template in PROJECT.items():
                if place.startswith(RECIPES) and not (project / place).exists():
                    with _writing(project / place):
                        _write(project / place, _filled(template, {}))
                    written.append(project / place)
        text = _filled("new.py", {"name": name, "module": module})
    else:
        text = _renamed(declarations, arguments.source, name)
    with _writing(path):
        _write(path, text)
    written.append(path)
    try:
        load_declarations(project).find(name)
    except InputError as error:
        for made in written:
            made.unlink()
        raise InputError([f"{shown} would not be valid, so it was not written:", *error.faults]) from error
    for made in written:
        print(f"wrote {os.path.relpath(made)}")
    run, ablab = _callable("run-ablation"), _callable("ablab")
    _print_next(
        "Next: edit it, then",
        (f"{ablab} show {name}", "the control, the arms, the claims"),
        (f"{run} {name} --plan", "what it would compute; computes nothing"),
        (f"{run} {name}", "compute it"),
    )


def _check_empty(folder: Path) -> None:
    """Raises `InputError` for a file, a folder that holds anything, or one that cannot be looked into."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder} is a link that leads nowhere; choose another folder")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; `ablab init` needs a new or empty folder")
    try:
        inside = sorted(path.name for path in folder.iterdir() if path.name not in _ALLOWED)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}; choose another folder") from error
    if inside:
        more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
        raise InputError(
            f"{folder} is not empty: it holds {', '.join(inside[:_SHOWN])}{more}; `ablab init` needs a new or empty "
            "folder, so that it overwrites nothing"
        )


def _declarations(project: Path) -> Declarations:
    if not (project / FOLDER).is_dir():
        raise InputError(
            f"there is no folder {FOLDER}/ in {project} or above it; `ablab init DIR` starts a project; or go to "
            "yours, or set ABLAB_PROJECT"
        )
    return load_declarations(project)


def _check_free(name: str, path: Path, shown: str, declarations: Declarations) -> None:
    """Raises `InputError` when the name or the file is taken."""
    faults = []
    taken = declarations.ablations.get(name)
    if taken is not None:
        faults.append(f"{name!r} is declared in {os.path.relpath(taken.path)}; choose another name, or edit that file")
    elif name in pinned_names(declarations.project):
        faults.append(f"{name!r} has pinned versions in {FOLDER}/versions; choose another name")
    elif os.path.lexists(path):
        faults.append(f"{shown} exists already and is never overwritten; choose another name, or move it away")
    if faults:
        raise InputError(faults)


def _start_module(project: Path) -> str | None:
    """The module of `experiments/` that has a recipe `smoke()`; None where the folder has no recipes at all."""
    found = sorted((project / RECIPES).glob("*.py"))
    for path in found:
        if START in _functions(path):
            return path.stem
    if (project / RECIPES / "recipes.py").exists():
        raise InputError(
            f"no file of {RECIPES}/ has a function {START}() that returns the control recipe; add one to "
            f"{RECIPES}/recipes.py, or copy an ablation with --from"
        )
    return None


def _functions(path: Path) -> set[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()  # whoever imports it is told
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def _renamed(declarations: Declarations, source: str, name: str) -> str:
    """The text of a declaration under another name, as version 1."""
    text = declarations.find(source).path.read_text(encoding="utf-8")
    stated = re.compile(rf"""(\bname\s*=\s*)(["']){re.escape(source)}\2""")
    text, names = stated.subn(rf"\g<1>\g<2>{name}\g<2>", text)
    text, versions = re.subn(r"(\bversion\s*=\s*)\d+", r"\g<1>1", text)
    if (names, versions) != (1, 1):
        raise InputError(
            f"{source} does not state name={source!r} and version=<number> once each, so it cannot be renamed; "
            f"copy its file in {FOLDER}/ by hand"
        )
    return text


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = files("ablab.cli").joinpath("templates", f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _write(path: Path, text: str) -> None:
    """Write a file that must not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the file system refuses is the fault of the place that was given."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def _print_next(title: str, *commands: tuple[str, str]) -> None:
    """Commands that can be copied, each with what it is for."""
    width = max(len(command) for command, _ in commands)
    print(f"\n{title}")
    for command, words in commands:
        print(f"  {command:{width}}   # {words}" if words else f"  {command}")


def _callable(program: str) -> str:
    """A program of this environment as it can be typed in any folder."""
    beside = Path(sys.executable).with_name(program)
    return program if shutil.which(program) or not beside.exists() else shlex.quote(str(beside))
