"""Pinned versions `ablations/versions/<name>@<n>.json`, and which ablation a name on the command line means.

A pinned file holds the whole spec and the digest of its canonical form; it follows from the declaration alone,
so locking twice gives the same bytes. It can be shown, compared and run after the declaration moved on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablab.errors import InputError, RunError, did_you_mean
from ablab.registry.declarations import FOLDER, load_declarations, plain_name
from ablab.spec import Ablation
from ablab.spec.ablation import differing_paths
from ablab.spec.base import build
from ablab.spec.canonical import SCHEMA, digest
from ablab.spec.edit import dump

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Chosen:
    """The ablation that a name means, and what its results are filed under."""

    ablation: Ablation
    label: str
    """`name@<n>` for pinned content, `name@dev` for anything else."""
    pinned: bool
    drift: list[str]
    """Fields in which a `dev` declaration differs from the pinned version of its number."""


@dataclass(frozen=True)
class Pinned:
    """One pinned version."""

    ablation: Ablation
    digest: str
    path: Path


def spec_digest(ablation: Ablation) -> str:
    """SHA-256 of the canonical form: paths and inert defaults do not count."""
    return digest(ablation.canonical())


def differences(one: Ablation, other: Ablation) -> list[str]:
    """Dotted paths at which two ablations differ in meaning; arms and claims are named, not counted."""
    if spec_digest(one) == spec_digest(other):
        return []
    paths = differing_paths(_by_name(one.canonical()), _by_name(other.canonical()))
    return paths or ["the order of arms or claims"]


def pinned_numbers(project: Path, name: str) -> list[int]:
    """The version numbers pinned for a name, ascending."""
    stems = [path.stem.rpartition("@") for path in _folder(project).glob(f"{plain_name(name)}@*.json")]
    return sorted(int(number) for _, _, number in stems if _NUMBER.fullmatch(number))


def pinned_names(project: Path) -> list[str]:
    """Every name that has a pinned version."""
    return sorted({path.stem.rpartition("@")[0] for path in _folder(project).glob("*@*.json")})


def all_pinned(project: Path) -> Iterator[Pinned]:
    """Every pinned version, by name and number. Raises `InputError` at the first damaged one."""
    for name in pinned_names(project):
        for number in pinned_numbers(project, name):
            yield load_pinned(project, name, number)


def load_pinned(project: Path, name: str, version: int) -> Pinned:
    """One pinned version, verified. Raises `InputError`: unknown (with those that exist), or damaged."""
    path = pinned_path(project, name, version)
    if not path.is_file():
        raise InputError(_unknown_version(project, name, version))
    shown = f"{FOLDER}/versions/{path.name}"
    restore = "pinned files are never edited; restore it from git"
    try:
        data = json.loads(path.read_bytes())
        schema, stored, spec = data["schema"], data["digest"], data["ablation"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{shown} is damaged ({type(error).__name__}: {error}); {restore}") from error
    if schema != SCHEMA:
        raise InputError(
            f"{shown} has schema {schema!r}, this ablab reads schema {SCHEMA}; use the ablab that wrote it"
        )
    ablation = build(Ablation, spec, shown)
    if stored != spec_digest(ablation):
        raise InputError(
            f"{shown} was changed by hand or damaged: its digest says {str(stored)[:12]}, its content has "
            f"{spec_digest(ablation)[:12]}; {restore}"
        )
    if (ablation.name, ablation.version) != (name, version):
        raise InputError(f"{shown} holds {ablation.name}@{ablation.version}; {restore}")
    return Pinned(ablation, stored, path)


def lock(project: Path, name: str) -> Path:
    """Pin the declaration under its number. The same content again changes nothing; other content is refused."""
    ablation = load_declarations(project).find(name).ablation
    path = pinned_path(project, name, ablation.version)
    if path.exists():
        pinned = load_pinned(project, name, ablation.version)
        changed = differences(ablation, pinned.ablation)
        if changed:
            raise InputError(
                f"{name}@{ablation.version} is pinned with other content; they differ in {', '.join(changed)}; "
                f"set version={_next_number(project, name)} in the declaration and lock again"
            )
        return path
    write_pinned(path, {"ablation": dump(ablation), "digest": spec_digest(ablation), "schema": SCHEMA})
    return path


def resolve_name(project: Path, reference: str) -> Chosen:
    """What `name`, `name@2` or `name@dev` means.

    `name@2` is the pinned file, whatever became of the declaration. `name` is the declaration: `name@<n>` while
    it equals the pinned version of its number, `name@dev` while its number is not pinned; other content under a
    pinned number is refused with the fields that differ. `name@dev` is the declaration as it stands.
    """
    name, number = parse_reference(reference)
    if isinstance(number, int):
        return Chosen(load_pinned(project, name, number).ablation, f"{name}@{number}", pinned=True, drift=[])
    try:
        ablation = load_declarations(project).find(name).ablation
    except InputError as error:
        numbers = pinned_numbers(project, name)
        if not numbers:
            raise
        versions = ", ".join(f"{name}@{n}" for n in numbers)
        raise InputError([*error.faults, f"pinned versions still run: {versions}"]) from error
    if ablation.version not in pinned_numbers(project, name):
        return Chosen(ablation, f"{name}@dev", pinned=False, drift=[])
    drift = differences(ablation, load_pinned(project, name, ablation.version).ablation)
    if not drift and number is None:
        return Chosen(ablation, f"{name}@{ablation.version}", pinned=True, drift=[])
    if number is None:
        raise InputError(
            f"{name} differs from its pinned version {ablation.version} in {', '.join(drift)}; set "
            f"version={_next_number(project, name)} in the declaration and run `ablab lock {name}`, "
            f"or run {name}@dev, or the pinned {name}@{ablation.version}"
        )
    return Chosen(ablation, f"{name}@dev", pinned=False, drift=drift)


def pinned_path(project: Path, name: str, version: int) -> Path:
    """Where that version is pinned, whether it is or not."""
    return _folder(project) / f"{plain_name(name)}@{version}.json"


def _folder(project: Path) -> Path:
    return project / FOLDER / "versions"


def parse_reference(reference: str) -> tuple[str, int | str | None]:
    """Name and number of `name`, `name@2`, `name@dev`; the number is 'dev' or None where no number was given."""
    name, at, number = reference.partition("@")
    plain_name(name)
    if not at:
        return name, None
    if number == "dev":
        return name, number
    if not _NUMBER.fullmatch(number):
        raise InputError(f"{reference!r} must be NAME, NAME@VERSION or NAME@dev, for example {name}@1")
    return name, int(number)


def _next_number(project: Path, name: str) -> int:
    return max(pinned_numbers(project, name), default=0) + 1


def _unknown_version(project: Path, name: str, version: int) -> str:
    numbers = pinned_numbers(project, name)
    if numbers:
        return f"{name} has no pinned version {version}; pinned: {', '.join(map(str, numbers))}"
    known = sorted({*pinned_names(project), *load_declarations(project).ablations})
    if name in known:
        return f"{name} has no pinned version {version}, nor any other; run {name}, or pin it with `ablab lock {name}`"
    return f"no ablation is named {name!r}; {did_you_mean(name, known)}"


def _by_name(value: Any) -> Any:
    """Lists of named objects as mappings, so that a difference in one arm is named and not 'arms'."""
    if isinstance(value, dict):
        return {key: _by_name(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = [_by_name(item) for item in value]
    for field in ("name", "id"):
        names = [item.get(field) if isinstance(item, dict) else None for item in items]
        if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(zip(names, items, strict=True))
    return items


def write_pinned(path: Path, content: Mapping[str, Any]) -> None:
    """The JSON file of a pinned version, whole or not at all: under another name, then renamed."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(f"{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise RunError(
            message, "nothing was pinned; make room or give access to the folder, then lock again"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
