"""One look at a checkpoint: what suites scored there, as a file in the work directory of the `curve` stage it is for.

A training makes looks while it goes on; the stage, which begins when the training is done, takes what was found of the
same weights as it is. Imports no torch: a search reads looks, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablab.store.context import LOOKS
from ablab.store.files import read_verified, write_verified


@dataclass(frozen=True)
class Look:
    """What suites scored at one checkpoint."""

    weights: str
    """SHA-256 of the weights that were scored."""
    suites: Mapping[str, Mapping[str, Any]]
    """`group, chance, score` by suite, in %."""
    rows: pa.Table
    """The items, as the stage writes them."""

    @property
    def aggregate(self) -> float:
        """The unweighted mean over the suites, in %."""
        return math.fsum(suite["score"] for suite in self.suites.values()) / len(self.suites)


def look_file(work: Path, step: int) -> Path:
    """Where the look at a step is kept."""
    return work / LOOKS / f"step-{step:08d}.look"


def write_look(path: Path, look: Look) -> None:
    """Complete or absent: the SHA-256 of the rest, a JSON line, and the rows as parquet."""
    rows = pa.BufferOutputStream()
    pq.write_table(look.rows, rows, compression="zstd")
    header = {"weights": look.weights, "suites": dict(look.suites)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_verified(path, json.dumps(header), rows.getvalue().to_pybytes())


def read_look(path: Path) -> Look | None:
    """The look if it is there and whole; else None."""
    if (found := read_verified(path)) is None:
        return None
    line, rows = found
    return Look(**json.loads(line), rows=pq.read_table(pa.BufferReader(rows)))
