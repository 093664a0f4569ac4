"""From nested results to MLflow's flat names and values, within its limits.

MLflow allows letters, digits, '_', '-', '.', ' ', ':' and '/' in names (250 characters; no empty, '.' or '..'
part), cuts parameters at 6,000 and run tags at 8,000 characters, and shows an infinite metric as 1.8e308. What is
changed here to fit is named in the tag `ablab.cut`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ablab.spec.canonical import canonical_json

NAME_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6_000, 8_000
CUT_TAG = "ablab.cut"
_FORBIDDEN = re.compile(r"[^/\w.\- :]", re.ASCII)


def numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of nested mappings as ('a/b/c', value). Lists and truth values are left to the JSON artifacts."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of nested mappings as ('a.b.c', text): strings as they are, all else as canonical JSON."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else canonical_json(value)


def safe_name(name: str) -> str:
    """`name` as MLflow accepts it. A name that is changed ends in 8 digits of its hash, so no two become one."""
    parts = [part for part in _FORBIDDEN.sub("_", name).split("/") if part not in ("", ".", "..")]
    safe = re.sub(r"^\.\.+", "_", "/".join(parts))  # MLflow takes two leading dots for a way out of its folder
    if safe and safe == name and len(safe) <= NAME_LIMIT:
        return safe
    suffix = hashlib.sha256(name.encode("utf-8")).hexdigest()[:8]
    return f"{safe[: NAME_LIMIT - 9]}-{suffix}" if safe else suffix


def fit_params(params: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Parameters that MLflow takes unchanged, and the names of those that had to be changed."""
    return _fit(params.items(), PARAM_LIMIT)


def fit_tags(tags: Mapping[str, str], changed: Iterable[str] = ()) -> dict[str, str]:
    """Tags that MLflow takes unchanged, with `ablab.cut` naming what was changed here or before (`changed`)."""
    fitting, cut = _fit(tags.items(), TAG_LIMIT)
    names = ", ".join([*changed, *cut])
    return fitting | {CUT_TAG: names[:TAG_LIMIT]} if names else fitting


def fit_metrics(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Finite metrics under safe names, and the names of those that are renamed or, not being finite, left out."""
    fitting: dict[str, float] = {}
    changed: list[str] = []
    for name, value in metrics.items():
        if math.isfinite(value):
            fitting[safe_name(name)] = value
        if not math.isfinite(value) or safe_name(name) != name:
            changed.append(name)
    return fitting, changed


def _fit(items: Iterable[tuple[str, str]], limit: int) -> tuple[dict[str, str], list[str]]:
    fitting: dict[str, str] = {}
    changed: list[str] = []
    for name, value in items:
        fitting[safe_name(name)] = value[:limit]
        if safe_name(name) != name or len(value) > limit:
            changed.append(name)
    return fitting, changed
