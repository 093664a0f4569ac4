"""One look at a checkpoint: what suites scored there, as a file in the work directory of the `curve` stage it is for.

A training makes looks while it goes on; the stage, which begins when the training is done, takes what was found of the
same weights as it is. Imports no torch: a search reads looks, too.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablab.store.context import LOOKS

DIGEST_LENGTH = 64


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
    body = json.dumps(header).encode() + b"\n" + rows.getvalue().to_pybytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    part.replace(path)


def read_look(path: Path) -> Look | None:
    """The look if it is there and whole; else None."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    stated, body = content[: DIGEST_LENGTH + 1], content[DIGEST_LENGTH + 1 :]
    if hashlib.sha256(body).hexdigest().encode() + b"\n" != stated:
        return None
    line, _, rows = body.partition(b"\n")  # trusted from here on: the digest covers it
    return Look(**json.loads(line), rows=pq.read_table(pa.BufferReader(rows)))
