"""Synthetic corpora beside the real one: numbers and a few texts."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ablab.analysis.report.files import checked_bytes
from ablab.analysis.report.material import CorpusRow, Samples
from ablab.store import Store
from ablab.store.executions import Roles

GENERATED = (
    "tokens",
    "head_size_mean",
    "argmax_changed",
    "kl_good_nats",
    "repeated_4grams",
    "compression",
)
DESCRIBED = ("documents", "mean_words", "distinct_1", "distinct_2", "distinct_3", "overlap_13gram")
TEXTS, LONGEST = 3, 700  # of every arm, and characters of each
REAL = "real text"


def corpus_rows(arms: Sequence[str], roles: Roles, store: Store) -> tuple[CorpusRow, ...]:
    """Means over the finished corpora of every arm that has any; a number that one of them lacks is left out."""
    rows = []
    for arm in arms:
        pairs = dict.fromkeys((one["generate"], one["describe"]) for one in roles.get(arm, ()) if "generate" in one)
        found = [_numbers(store.result(*g), store.result(*d)) for g, d in pairs if store.has(*g) and store.has(*d)]
        if found:
            names = [name for name in found[0] if all(name in numbers for numbers in found)]
            means = {name: statistics.fmean(numbers[name] for numbers in found) for name in names}
            rows.append(CorpusRow(arm, len(found), means))
    return tuple(rows)


def real_corpus(roles: Roles, store: Store) -> Mapping[str, Any]:
    """Result of the corpus stage, which all arms share; {} where it is not there."""
    stage = _corpus(roles)
    return store.result(*stage) if stage and store.has(*stage) else {}


def samples(arms: Sequence[str], roles: Roles, store: Store) -> tuple[Samples, ...]:
    """The first texts of the held-out real corpus and of each arm's first corpus, cut where they are long.

    Arms that share one corpus are shown once, under their names.
    """
    found = []
    real = _corpus(roles)
    if real and store.has(*real):
        found.append(Samples(REAL, _first_documents(checked_bytes(store, *real, "validation.parquet"))))
    sharing: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        stage = next((one["describe"] for one in roles.get(arm, ()) if "describe" in one), None)
        if stage is not None and store.has(*stage):
            sharing.setdefault(stage, []).append(arm)
    for stage, names in sharing.items():
        texts = json.loads(checked_bytes(store, *stage, "samples.json"))
        found.append(Samples(", ".join(names), tuple(_cut(str(text["text"])) for text in texts[:TEXTS])))
    return tuple(found)


def _numbers(generated: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, float]:
    """What older stages did not record is left out."""
    numbers = {name: generated.get(name) for name in GENERATED} | {name: described.get(name) for name in DESCRIBED}
    numbers["true_statements"] = (described.get("consistency") or {}).get("rate")
    return {name: float(value) for name, value in numbers.items() if value is not None}


def _corpus(roles: Roles) -> tuple[str, str] | None:
    return next((one["corpus"] for replicates in roles.values() for one in replicates if "corpus" in one), None)


def _first_documents(content: bytes) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(io.BytesIO(content)).iter_batches(TEXTS, columns=["text"])
    batch = next(batches, None)
    return tuple(_cut(str(text)) for text in batch.column("text").to_pylist()) if batch is not None else ()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
