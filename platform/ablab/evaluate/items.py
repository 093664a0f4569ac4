"""Suites as their stage leaves them, and the item-level outcomes that evaluation leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablab.errors import RunError

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("suite", pa.string()),
        ("task", pa.string()),
        ("group", pa.string()),
        ("correct", pa.bool_()),
        ("prediction", pa.int32()),
        ("log_probs", pa.list_(pa.float64())),
    ]
)
MAX_FAULTS = 5  # faults of one file that are worth reading


@dataclass(frozen=True)
class Suite:
    """One suite: its group, what chance scores in %, and the number of items of every task."""

    name: str
    group: str
    chance: float
    tasks: Mapping[str, int]


@dataclass(frozen=True)
class ItemOutcome:
    """What a model did with one item. `log_probs` in nats, one for each option; option 0 is correct."""

    item: str
    suite: str
    task: str
    group: str
    log_probs: tuple[float, ...]

    @property
    def prediction(self) -> int:
        """The most probable option; the first of exact equals, so that a tie counts as correct."""
        return self.log_probs.index(max(self.log_probs))

    @property
    def correct(self) -> bool:
        return self.prediction == 0


class Rows(list[dict[str, Any]]):
    """Items of one task; `features` names their columns, which lm-eval asks of a data set."""

    features: Mapping[str, str] = {"id": "string", "context": "string", "options": "list"}


def read_suites(directory: Path) -> list[Suite]:
    """The suites that the result of a suite stage lists, in its order."""
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    return [
        Suite(name, entry["group"], float(entry["chance"]), dict(entry["tasks"]))
        for name, entry in result["suites"].items()
    ]


def rows_path(directory: Path, suite: str, task: str) -> Path:
    return directory / suite / f"{task}.jsonl"


def read_rows(path: Path) -> Rows:
    """The items of one file. Raises `RunError` with every fault, up to five."""
    with path.open(encoding="utf-8") as lines:
        rows = Rows(json.loads(line) for line in lines)
    faults = [fault for row in rows if (fault := _fault(row))]
    ids = [row.get("id") for row in rows]
    if len(set(ids)) < len(ids):
        faults.append("two items have the same id")
    if not rows:
        faults.append("there is no item")
    if faults:
        shown = "; ".join(faults[:MAX_FAULTS]) + (f"; and {len(faults) - MAX_FAULTS} more" * (len(faults) > MAX_FAULTS))
        raise RunError(f"{path.parent.name}/{path.name}: {shown}")
    return rows


def _fault(row: Mapping[str, Any]) -> str | None:
    name, context, options = row.get("id"), row.get("context"), row.get("options")
    if not isinstance(name, str) or not isinstance(context, str):
        return f"item {name!r} must have an id and a context that are strings"
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(o, str) and o for o in options):
        return f"item {name!r} must have two or more options that are strings and not empty"
    return None


def write_items(path: Path, outcomes: Sequence[ItemOutcome]) -> None:
    """`items.parquet`: one row for every item. The same outcomes give the same bytes."""
    columns: dict[str, Iterable[Any]] = {name: [getattr(o, name) for o in outcomes] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
