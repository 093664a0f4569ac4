"""Studies `<project>/experiments/studies/*.py`, declared, pinned and named as ablations are.

Each file defines `STUDY = Study(...)`; `_*.py` files are helpers. `lock` pins a version under
`experiments/studies/versions/<name>@<n>.json`. Trials are filed under `name@<version>`, whether or not it is pinned,
and a study whose content changed under its number is refused with the fields that differ. `name@dev` files its trials
by content, so that a declaration can be tried while it changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ablab.errors import InputError, did_you_mean
from ablab.registry.declarations import Kind, plain_name, read_folder
from ablab.registry.versions import parse_reference, write_pinned
from ablab.search.check import study_faults
from ablab.search.spec import Study, StudyDesign
from ablab.spec.ablation import differing_paths
from ablab.spec.base import build
from ablab.spec.canonical import SCHEMA, digest
from ablab.spec.edit import dump

FOLDER = "experiments/studies"
STUDIES = Kind(FOLDER, "STUDY", Study, lambda study: study.designs, study_faults)


@dataclass(frozen=True)
class ChosenStudy:
    """The study that a name means, and what its trials are filed under."""

    study: Study
    label: str
    """`name@<version>`, or `name@dev`."""
    pinned: bool


def is_study(project: Path, name: str) -> bool:
    """True for a name that a file of the folder declares, or would if it could be read."""
    found, broken = read_folder(project.resolve(), STUDIES)
    return name in {*(study.name for study, _ in found), *(one.name for one in broken)}


def declared_studies(project: Path) -> tuple[dict[str, Study], list[str]]:
    """The studies of the folder by name, and what is wrong with the others."""
    found, broken = read_folder(project.resolve(), STUDIES)
    return {study.name: study for study, _ in found}, [fault for one in broken for fault in one.faults]


def pinned_studies(project: Path) -> dict[str, dict[int, Study]]:
    """Every pinned version: name -> number -> study. Raises `InputError` for a damaged one."""
    pinned: dict[str, dict[int, Study]] = {}
    for path in sorted((project / FOLDER / "versions").glob("*@*.json")):
        name, _, number = path.stem.rpartition("@")
        if number.isdecimal():
            pinned.setdefault(name, {})[int(number)] = load_pinned(path)
    return pinned


def find_study(project: Path, name: str) -> Study:
    """The declaration of that name. Raises `InputError`: not a name, its faults, or unknown (did you mean)."""
    plain_name(name)
    found, broken = read_folder(project.resolve(), STUDIES)
    studies = {study.name: study for study, _ in found}
    if name in studies:
        return studies[name]
    own = [fault for one in broken if one.name == name for fault in one.faults]
    if own:
        raise InputError(own)
    hint = did_you_mean(name, sorted({*studies, *(one.name for one in broken)}))
    if not (project / FOLDER).is_dir():
        hint = f"there is no folder {FOLDER}/ in {project}; go to the project or set ABLAB_PROJECT"
    raise InputError([f"no study is named {name!r}; {hint}", *(fault for one in broken for fault in one.faults)])


def choose_study(project: Path, reference: str) -> ChosenStudy:
    """What `name`, `name@2` or `name@dev` means. Raises `InputError`: unknown, or changed under a pinned number."""
    name, number = parse_reference(reference)
    if isinstance(number, int):
        path = pinned_path(project, name, number)
        if path.is_file():
            return ChosenStudy(load_pinned(path), f"{name}@{number}", pinned=True)
    study = find_study(project, name)
    if number == "dev":
        return ChosenStudy(study, f"{name}@dev", pinned=False)
    if number not in (None, study.version):
        raise InputError(f"{name} has no pinned version {number}, and its declaration is version {study.version}")
    path = pinned_path(project, name, study.version)
    if not path.is_file():
        return ChosenStudy(study, f"{name}@{study.version}", pinned=False)
    changed = differences(load_pinned(path), study)
    if changed:
        raise InputError(
            f"{name} differs from its pinned version {study.version} in {', '.join(changed)}; set "
            f"version={study.version + 1} in the declaration, or run {name}@dev, which keeps its trials apart"
        )
    return ChosenStudy(study, f"{name}@{study.version}", pinned=True)


def lock_study(project: Path, name: str) -> Path:
    """Pin the declaration under its number. The same content again changes nothing; other content is refused."""
    study = find_study(project, name)
    path = pinned_path(project, name, study.version)
    if path.is_file():
        changed = differences(load_pinned(path), study)
        if changed:
            raise InputError(
                f"{name}@{study.version} is pinned with other content; they differ in {', '.join(changed)}; "
                f"set version={study.version + 1} in the declaration and lock again"
            )
        return path
    write_pinned(path, {"digest": digest(study.canonical()), "schema": SCHEMA, "study": dump(study)})
    return path


def load_pinned(path: Path) -> Study:
    """One pinned version, verified. Raises `InputError` for a damaged one."""
    shown = f"{FOLDER}/versions/{path.name}"
    try:
        data = json.loads(path.read_bytes())
        schema, stored, spec = data["schema"], data["digest"], data["study"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{shown} is damaged ({type(error).__name__}: {error}); restore it from git") from error
    if schema != SCHEMA:
        raise InputError(
            f"{shown} has schema {schema!r}, this ablab reads schema {SCHEMA}; use the ablab that wrote it"
        )
    study = build(Study, spec, shown)
    if stored != digest(study.canonical()):
        raise InputError(f"{shown} was changed by hand or damaged: its digest is another's; restore it from git")
    return study


def differences(one: Study | StudyDesign, other: Study | StudyDesign) -> list[str]:
    """Dotted paths at which two studies differ in meaning; the budget has none."""
    return differing_paths(one.canonical(), other.canonical())


def pinned_path(project: Path, name: str, version: int) -> Path:
    """Where that version is pinned, whether it is or not."""
    return project / FOLDER / "versions" / f"{plain_name(name)}@{version}.json"
