"""Canonical JSON and SHA-256: the one way in which ablab turns a value into an identity.

Keys sorted, no white space, UTF-8 without escapes, floats in their shortest form with integral ones kept
as floats (`1.0`), so the same value gives the same bytes on every machine and Python version. What has no
stable form (sets, callables, NaN, infinities, bytes, non-string keys) is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ablab.errors import InputError

SCHEMA = 1  # of the canonical form itself; part of every key

Json: TypeAlias = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def canonical_json(value: Any) -> str:
    """The canonical text of a JSON-like value (tuples count as lists)."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical text, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def plain(value: Any, where: str = "value") -> Any:
    """A copy made of dict, list, str, int, float, bool and None only; refuses everything else."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where}={value} has no stable form; give a finite number")
        return 0.0 if value == 0 else float(value)  # -0.0 and 0.0 are one value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where} has the key {key!r}; keys must be strings")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise InputError(
        f"{where} is a {type(value).__name__}, which has no stable form; use numbers, strings, lists and mappings"
    )
