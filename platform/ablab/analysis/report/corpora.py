"""Corpora side by side: numbers, their course over the steps, lengths and a few texts."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablab.analysis.corpora import CorpusRow, Stage, corpora_of, corpus_numbers, means
from ablab.analysis.report.arms import leaf_text, leaves_of
from ablab.analysis.report.files import checked_bytes
from ablab.analysis.report.material import Line, Samples
from ablab.store import Store
from ablab.store.executions import Roles

TEXTS, LONGEST = 3, 700  # of every arm, and characters of each
REAL = "real text"
PARTED = "\n\n"  # between the documents of one sequence
STEPS = {"head_size": "words in the head", "argmax_changed": "best word changed", "kl_good_nats": "KL from GOOD, nats"}
"""Lists of a generation's `steps.json` that are drawn, with their titles."""
ALL_SUITES = "all suites"


@dataclass(frozen=True)
class Column:
    """A corpus, or the corpora of an arm: then every number is the mean over them."""

    row: CorpusRow
    steps: Mapping[str, Line]
    """By name in `STEPS`: over the steps at which it was measured."""
    lengths: Mapping[int, float]
    """Share of the documents by the lower edge of their bin of words."""
    held: Mapping[str, tuple[int, float | None]]
    """By suite: 13-grams of its items, and the share of them that the corpus holds (None where there are none)."""
    unread: tuple[str, ...]
    """Suites whose text is not read."""
    samples: Samples
    """By sequence, from the first; empty where a sequence gave no text."""
    declared: Mapping[str, str]
    """How it was made; several values where the corpora of an arm differ."""

    @property
    def name(self) -> str:
        return self.row.arm


def columns(arms: Sequence[str], roles: Roles, store: Store) -> tuple[Column, ...]:
    """The real corpus, then the corpora of every arm; arms that share theirs are one column."""
    sharing: dict[tuple[str, ...], list[str]] = {}
    for arm in arms:
        found = tuple(one["describe"][1] for one in corpora_of(roles.get(arm, ()), store))
        if found:
            sharing.setdefault(found, []).append(arm)
    real = next((one["real_describe"] for of in roles.values() for one in of if "real_describe" in one), None)
    first = [corpus_column(REAL, [real[1]], store)] if real is not None and store.has(*real) else []
    return (*first, *(corpus_column(", ".join(names), keys, store) for keys, names in sharing.items()))


def corpus_column(name: str, described: Sequence[str], store: Store) -> Column:
    """Of one or more describe stages that are in the store, by their keys."""
    made = [_one(name, key, store) for key in described]
    numbers = means([one.row.numbers for one in made])
    bins = sorted({edge for one in made for edge in one.lengths})
    return replace(
        made[0],
        row=CorpusRow(name, len(made), numbers),
        steps={step: _mean_line([one.steps[step] for one in made if step in one.steps]) for step in made[0].steps},
        lengths={edge: statistics.fmean(one.lengths.get(edge, 0.0) for one in made) for edge in bins},
        held={suite: _mean_held([one.held[suite] for one in made]) for suite in made[0].held},
        declared={
            path: ", ".join(dict.fromkeys(one.declared.get(path, "") for one in made)) for path in made[0].declared
        },
    )


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
    sharing: dict[Stage, list[str]] = {}
    for arm in arms:
        stage = next((one["describe"] for one in roles.get(arm, ()) if "describe" in one), None)
        if stage is not None and store.has(*stage):
            sharing.setdefault(stage, []).append(arm)
    for stage, names in sharing.items():
        texts = [text for text in _texts(stage[1], store) if text][:TEXTS]
        found.append(Samples(", ".join(names), tuple(map(_cut, texts))))
    return tuple(found)


def _one(name: str, key: str, store: Store) -> Column:
    described, inputs = store.result("describe", key), store.identity("describe", key)["inputs"]
    corpus = inputs["corpus"]
    generated = corpus != inputs["real"]
    made = store.result("generate", corpus) if generated else {}
    return Column(
        row=CorpusRow(name, 1, corpus_numbers(made, described)),
        steps=dict(_steps(name, corpus, store)) if generated else {},
        lengths=dict(_lengths(described)),
        held=_held(described),
        unread=tuple(described.get("unread", ())),
        samples=Samples(name, tuple(_texts(key, store))),
        declared=_declared(corpus, made, store) if generated else {},
    )


def _declared(corpus: str, made: Mapping[str, Any], store: Store) -> dict[str, str]:
    """How a generated corpus was made."""
    steps = {name: made[name] for name in ("good_step", "bad_step", "sequences", "prompts", "duplicates_removed")}
    params = store.identity("generate", corpus)["params"]
    return {path: leaf_text(value) or "" for path, value in leaves_of({**params, **steps})}


def _steps(name: str, corpus: str, store: Store) -> Iterator[tuple[str, Line]]:
    recorded = json.loads(checked_bytes(store, "generate", corpus, "steps.json"))
    for step in STEPS:
        values = enumerate(recorded.get(step) or ())
        points = [(float(at), float(value)) for at, value in values if value is not None]
        if points:
            x, y = tuple(zip(*points, strict=True))
            yield step, Line(name, x, y, y, y, 1)


def _mean_line(lines: Sequence[Line]) -> Line:
    """At every step where some corpus was measured: where texts stop early, corpora of one arm differ in these."""
    at: dict[float, list[float]] = {}
    for line in lines:
        for x, value in zip(line.x, line.mean, strict=True):
            at.setdefault(x, []).append(value)
    steps = tuple(sorted(at))
    mean, low, high = (tuple(how(at[x]) for x in steps) for how in (statistics.fmean, min, max))
    return Line(lines[0].arm, steps, mean, low, high, len(lines))


def _lengths(described: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    histogram = described.get("length_histogram", {"edges": [], "documents": []})
    for edge, documents in zip(histogram["edges"], histogram["documents"], strict=False):
        if documents:
            yield edge, documents / described["documents"]


def _held(described: Mapping[str, Any]) -> dict[str, tuple[int, float | None]]:
    found = {suite: (one["ngrams"], one["held"]) for suite, one in described.get("evaluation", {}).items()}
    if not found:
        return {}
    return {**found, ALL_SUITES: (sum(ngrams for ngrams, _ in found.values()), described["evaluation_13gram"])}


def _mean_held(found: Sequence[tuple[int, float | None]]) -> tuple[int, float | None]:
    held = [share for _, share in found if share is not None]
    return found[0][0], statistics.fmean(held) if held else None


def _texts(key: str, store: Store) -> list[str]:
    """Of generated text by number of the sequence, whose documents stand together; of real text one by one."""
    read = json.loads(checked_bytes(store, "describe", key, "samples.json"))
    inputs = store.identity("describe", key)["inputs"]
    if inputs["corpus"] == inputs["real"]:
        return [str(sample["text"]) for sample in read]
    parts: dict[int, list[str]] = {}
    for sample in read:
        parts.setdefault(int(sample["id"].partition("/")[0]), []).append(str(sample["text"]))
    return [PARTED.join(parts.get(number, ())) for number in range(max(parts, default=-1) + 1)]


def _corpus(roles: Roles) -> Stage | None:
    return next((one["corpus"] for replicates in roles.values() for one in replicates if "corpus" in one), None)


def _first_documents(content: bytes) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(io.BytesIO(content)).iter_batches(TEXTS, columns=["text"])
    batch = next(batches, None)
    return tuple(_cut(str(text)) for text in batch.column("text").to_pylist()) if batch is not None else ()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
