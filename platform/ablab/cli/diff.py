"""`ablab diff`: what differs between two things, identity and numerics apart."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from ablab.cli.common import console, print_json
from ablab.errors import InputError, did_you_mean
from ablab.registry.versions import resolve_name
from ablab.runner.prepare import open_store
from ablab.settings import Settings, load_settings
from ablab.spec.edit import dump
from ablab.spec.normal import normal
from ablab.store.executions import read_executions

HEX = re.compile(r"[0-9a-f]{6,64}")
SECTIONS = ("identity", "numerics", "execution")


def diff(arguments: argparse.Namespace) -> None:
    """Print the paths at which the two differ, with both values."""
    settings = load_settings()
    left = _load(arguments.left, arguments.scale, settings)
    right = _load(arguments.right, arguments.scale, settings)
    found = {
        section: {path: list(values) for path, *values in _differing(left.get(section, {}), right.get(section, {}))}
        for section in SECTIONS
    }
    if arguments.json:
        print_json(found)
    else:
        _print(found, arguments.left, arguments.right)


def _load(reference: str, scale: str, settings: Settings) -> dict[str, Any]:
    """The identity, numerics and execution of what is named, each as JSON-like data."""
    if HEX.fullmatch(reference):
        return _stored(reference, settings)
    name, _, arm = reference.partition(":")
    chosen = resolve_name(settings.project, name)
    design = chosen.ablation.design(scale)
    if not arm:
        return {"identity": _named(dump(design))}
    recipes = design.recipes()
    if arm not in recipes:
        raise InputError(f"{chosen.label} has no arm {arm!r} at {scale}; {did_you_mean(arm, list(recipes))}")
    return {"identity": dump(normal(recipes[arm]))}


def _stored(prefix: str, settings: Settings) -> dict[str, Any]:
    store = open_store(settings)
    executions = [e for e in read_executions(store.root) if e.id.startswith(prefix)]
    stages = [(kind, key) for kind, key in store.finished() if key.startswith(prefix)]
    if len(executions) + len(stages) != 1:
        what = "no execution or stage" if not executions and not stages else "more than one execution or stage"
        raise InputError(f"{what} begins with {prefix}; `ablab status` lists them")
    if executions:
        one = executions[0]
        placement = dict(one.placement)
        return {
            "identity": _named(dict(one.design)),
            "numerics": placement.pop("numerics", {}),
            "execution": placement | {"status": one.status, "code": one.code, "host": one.host},
        }
    kind, key = stages[0]
    manifest = store.manifest(kind, key)
    files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    return {
        "identity": store.identity(kind, key) | {"files": files},
        "numerics": manifest["numerics"],
        "execution": manifest.get("provenance", {}),
    }


def _named(design: dict[str, Any]) -> dict[str, Any]:
    """Arms and claims by name, so that a difference in one arm is told as that arm's."""
    return design | {
        "arms": {arm["name"]: arm for arm in design["arms"]},
        "claims": {claim["id"]: claim for claim in design["claims"]},
    }


def _differing(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every path at which two JSON-like values differ, with both values; None is one that is absent."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            here = f"{path}.{key}" if path else key
            if key in one and key in other:
                yield from _differing(one[key], other[key], here)
            else:
                yield here, one.get(key), other.get(key)
    elif one != other:
        yield path or "value", one, other


def _print(found: dict[str, dict[str, list[Any]]], left: str, right: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from ablab.spec.canonical import canonical_json

    if not any(found.values()):
        print(f"{left} and {right} are the same")
        return
    for section, paths in found.items():
        if not paths:
            continue
        table = Table(title=Text(section), title_justify="left", box=None, pad_edge=False)
        for column in ("path", left, right):
            table.add_column(Text(column), overflow="fold")
        for path, (one, other) in paths.items():
            table.add_row(Text(path), Text(canonical_json(one)), Text(canonical_json(other)))
        console().print(table)
