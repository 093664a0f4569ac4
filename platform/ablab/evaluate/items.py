"""Suites as their stage leaves them, and the item-level outcomes that evaluation leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ablab.corpora.pairs import Question
from ablab.corpora.suite_ewok import with_text
from ablab.errors import RunError
from ablab.evaluate.metrics import ACCURACY, R2_INCREMENT, SPEARMAN, first_share

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("cluster", pa.string()),
        ("suite", pa.string()),
        ("task", pa.string()),
        ("group", pa.string()),
        ("correct", pa.bool_()),
        ("prediction", pa.int32()),
        ("value", pa.float64()),
        ("pseudo_value", pa.float64()),
        ("log_probs", pa.list_(pa.float64())),
    ]
)
MAX_FAULTS = 5  # faults of one file that are worth reading

_FIELDS: Mapping[str, tuple[str, ...]] = {
    ACCURACY: (),
    SPEARMAN: ("ratio",),
    R2_INCREMENT: ("predictors", "times"),
}


@dataclass(frozen=True)
class Suite:
    """One suite: its group, what chance scores in % (None without), and the number of items of every task."""

    name: str
    group: str
    chance: float | None
    tasks: Mapping[str, int]
    metric: str = ACCURACY
    sections: Mapping[str, Sequence[str]] | None = None
    """Tasks by section, where the score is the mean over the sections' means."""
    encrypted: str | None = None
    """SHA-256 of the zip that alone holds the text of the items."""
    limit: int | None = None
    """First items of every task that are taken; None for all."""

    def limited(self, first: int | None) -> Suite:
        """With so many items of every task at most; whole where items have no right answer."""
        if first is None or self.metric != ACCURACY:
            return self
        return replace(self, tasks={task: min(count, first) for task, count in self.tasks.items()}, limit=first)


@dataclass(frozen=True)
class ItemOutcome:
    """What a model did with one item. `log_probs` in nats: one for each option, of which 0 is correct where one is.

    A word that was read has its own, and in self-paced reading behind it that of the word before.
    """

    item: str
    suite: str
    task: str
    group: str
    log_probs: tuple[float, ...]
    metric: str = ACCURACY
    story: str | None = None
    """The `cluster` of its row, where it has one."""
    pseudo_value: float | None = None
    """What it adds to a score that is no share of right answers (`ablab.evaluate.jackknife`)."""

    @property
    def cluster(self) -> str:
        """Rows of one cluster are one draw; the item itself where it shares nothing with others."""
        return self.item if self.story is None else self.story

    @property
    def prediction(self) -> int:
        """The most probable option; the first of exact equals, so that a tie counts as correct."""
        return 0 if self.metric == R2_INCREMENT else self.log_probs.index(max(self.log_probs))

    @property
    def correct(self) -> bool | None:
        """None where no option is the right one."""
        return self.prediction == 0 if self.metric == ACCURACY else None

    @property
    def value(self) -> float | None:
        """p(variant 0) of a nonce word, surprisal in nats of a word that was read."""
        if self.metric == SPEARMAN:
            return first_share(self.log_probs)
        return -self.log_probs[0] if self.metric == R2_INCREMENT else None


class Outcome(Protocol):
    """A row of `items.parquet`: of an item of a suite, or of a document of lm-eval's own."""

    @property
    def item(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def suite(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def correct(self) -> bool | None: ...
    @property
    def prediction(self) -> int | None: ...
    @property
    def value(self) -> float | None: ...
    @property
    def pseudo_value(self) -> float | None: ...
    @property
    def log_probs(self) -> tuple[float, ...]: ...


class Rows(list[dict[str, Any]]):
    """Items of one task; `features` names their columns, which lm-eval asks of a data set."""

    features: Mapping[str, str] = {"id": "string", "context": "string", "options": "list"}


def read_suites(directory: Path) -> list[Suite]:
    """The suites of items that the result of a suite stage lists, in its order."""
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    return [
        Suite(
            name,
            entry["group"],
            entry["chance"],
            dict(entry["tasks"]),
            entry.get("metric", ACCURACY),
            entry.get("sections"),
            entry.get("encrypted"),
        )
        for name, entry in result["suites"].items()
        if "lm_eval" not in entry  # these are `ablab.evaluate.external`'s
    ]


def rows_path(directory: Path, suite: str, task: str) -> Path:
    return directory / suite / f"{task}.jsonl"


def read_rows(
    path: Path, metric: str = ACCURACY, text: Sequence[Question] | None = None, first: int | None = None
) -> Rows:
    """The first items (None: all) of one file. Raises `RunError` with every fault, up to five.

    text: what the items with their ids alone ask, by number; it stays in memory.
    """
    with path.open(encoding="utf-8") as lines:
        rows = Rows(json.loads(line) for line in islice(lines, first))
    ids = [row.get("id") for row in rows]
    if text is not None:
        rows = Rows(with_text(row, text) for row in rows)
    faults = [fault for row in rows if (fault := _fault(row, metric))]
    if len(set(ids)) < len(ids):
        faults.append("two items have the same id")
    if not rows:
        faults.append("there is no item")
    if faults:
        shown = "; ".join(faults[:MAX_FAULTS]) + (f"; and {len(faults) - MAX_FAULTS} more" * (len(faults) > MAX_FAULTS))
        raise RunError(f"{path.parent.name}/{path.name}: {shown}")
    return rows


def _fault(row: Mapping[str, Any], metric: str) -> str | None:
    name, context, options = row.get("id"), row.get("context"), row.get("options")
    if not isinstance(name, str) or not isinstance(context, str):
        return f"item {name!r} must have an id and a context that are strings"
    least, words = (1, "one option") if metric == R2_INCREMENT else (2, "two or more options")
    if not isinstance(options, list) or len(options) < least or not all(isinstance(o, str) and o for o in options):
        return f"item {name!r} must have {words} that are strings and not empty"
    lacking = [field for field in _FIELDS[metric] if field not in row]
    return f"item {name!r} has no {' and no '.join(lacking)}" if lacking else None


def write_items(path: Path, outcomes: Sequence[Outcome]) -> None:
    """`items.parquet`: one row for every item. The same outcomes give the same bytes."""
    columns: dict[str, Iterable[Any]] = {name: [getattr(o, name) for o in outcomes] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
