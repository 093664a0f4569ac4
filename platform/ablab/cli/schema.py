"""`ablab schema`: JSON Schema of what can be declared, with the docstrings as descriptions."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ablab.errors import InputError, did_you_mean
from ablab.spec import Ablation, Placement, Recipe
from ablab.spec.base import Spec

KINDS: dict[str, type[Spec]] = {"ablation": Ablation, "recipe": Recipe, "placement": Placement}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(arguments: argparse.Namespace) -> None:
    """Print the schema of one kind; an ablation by default, which holds recipes."""
    print(json.dumps(schema_of(arguments.kind or "ablation"), indent=2, ensure_ascii=False))  # in declared order


def schema_of(kind: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one kind. Rules that join several fields are not in it: `ablab show` checks those.

    `inert` marks a field that is left out of the identity while it has its default, `execution` one that is never a
    part of it. Raises `InputError` for an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"ablab schema: {kind!r} is no kind; {did_you_mean(kind, list(KINDS))}")
    made = KINDS[kind].model_json_schema()
    _close(made)
    return {"$schema": DIALECT, **made}


def _close(node: Any) -> None:
    """Where names must match a pattern, pydantic lets every other name pass; ablab does not."""
    if isinstance(node, dict) and "patternProperties" in node:
        node["additionalProperties"] = False
    for inside in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _close(inside)
