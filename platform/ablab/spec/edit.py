"""Edits of a recipe by path: `edit(recipe, {"synthetic.decoding.top_k": 200})`. `--set` is exactly this.

A path names a leaf of the variant that is present; a variant (a whole object, a list or null) is replaced
whole, by a JSON value. Everything is validated again, and every fault is reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from ablab.errors import InputError, did_you_mean
from ablab.spec.base import Spec, build
from ablab.spec.canonical import plain

SpecT = TypeVar("SpecT", bound=Spec)

MAX_DEPTH = 32  # of a value of `--set`; a whole recipe has 6


def edit(spec: SpecT, edits: Mapping[str, Any], where: str = "") -> SpecT:
    """A new spec with the values at the given paths replaced; variants first, so their leaves can follow."""
    tree = dump(spec)
    faults: list[str] = []
    for path in sorted(edits, key=lambda p: p.count(".")):
        fault = _put(tree, path, plain(edits[path], path))
        if fault:
            faults.append(f"{where}: {fault}" if where else fault)
    if faults:
        raise InputError(faults)
    return build(type(spec), tree, where)


def dump(spec: Spec) -> dict[str, Any]:
    """The whole spec as JSON-like data, defaults and execution fields included."""
    tree: dict[str, Any] = json.loads(spec.model_dump_json())
    return tree


def parse_set(assignment: str) -> tuple[str, Any]:
    """`path=value` of `--set`: the value is JSON, or a bare word taken as a string."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise InputError(f"--set {assignment!r} must be PATH=VALUE, for example mixture.share=0.5")
    try:
        value = json.loads(text)
        too_deep = _depth(value) > MAX_DEPTH
    except RecursionError:
        too_deep = True
    except ValueError:  # no JSON, or an integer of thousands of digits
        return path.strip(), text
    if too_deep:
        raise InputError(
            f"--set {path.strip()}: the value is nested deeper than {MAX_DEPTH} levels; give a flatter one"
        )
    return path.strip(), value


def _depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inside), default=0)


def paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every path that can be edited in JSON-like data: leaves and whole variants."""
    found = []
    for key, value in tree.items():
        found.append(prefix + key)
        if isinstance(value, Mapping):
            found += paths(value, f"{prefix}{key}.")
    return found


def _put(tree: dict[str, Any], path: str, value: Any) -> str | None:
    node = tree
    *parents, leaf = path.split(".")
    for depth, part in enumerate(parents):
        inside = node.get(part)
        if not isinstance(inside, dict):
            here = ".".join(parents[: depth + 1])
            if part in node:
                return (
                    f"{path}: {here} is {json.dumps(inside)} here and has no fields; replace {here} whole, "
                    "by a JSON value"
                )
            return f"{path}: no such path; {did_you_mean(path, paths(tree))}"
        node = inside
    if leaf not in node:
        variant = f" ({'.'.join(parents)} is a {node['kind']})" if "kind" in node else ""
        return f"{path}: no such path{variant}; {did_you_mean(path, paths(tree))}"
    node[leaf] = value
    return None
