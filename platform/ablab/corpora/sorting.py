"""Sorting documents that need not fit into memory: sorted runs on disk, merged (external merge sort)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain
from pathlib import Path

from ablab.corpora.documents import Document
from ablab.corpora.streams import DocumentWriter, read_batches

RUN_CHARACTERS = 1 << 25
"""Text that is held and sorted at once: 64 MiB with what Python needs around it."""

_RUN_ROWS = 256  # of every run in memory while they are merged
_DIGITS = 20  # of a 64-bit rank


def in_order(ranked: Iterable[tuple[Document, int]], work: Path, limit: int = RUN_CHARACTERS) -> Iterator[Document]:
    """The documents by rank, those of one rank by id; at most about `limit` characters of them are in memory.

    `work` holds the runs until all documents are given.
    """
    runs: list[Path] = []
    held: list[tuple[int, Document]] = []
    characters = 0
    for document, rank in ranked:
        held.append((rank, document))
        characters += len(document.text)
        if characters >= limit:
            runs.append(work / f"run-{len(runs):04d}.parquet")
            _write_run(runs[-1], held)
            held, characters = [], 0
    held.sort(key=_place)
    last = (document for _, document in held)
    if not runs:
        yield from last
        return
    keyed = (Document(_key(rank, document), document.source, document.text) for rank, document in held)
    for document in merge(*(_read_run(path) for path in runs), keyed):
        yield document._replace(id=document.id[_DIGITS:])
    for path in runs:
        path.unlink()


def _place(one: tuple[int, Document]) -> tuple[int, str]:
    return one[0], one[1].id


def _key(rank: int, document: Document) -> str:
    """Text that sorts as (rank, id) does."""
    return f"{rank:0{_DIGITS}d}{document.id}"


def _write_run(path: Path, held: list[tuple[int, Document]]) -> None:
    held.sort(key=_place)
    with DocumentWriter(path, rows=_RUN_ROWS) as writer:
        for rank, document in held:
            writer.write(document._replace(id=_key(rank, document)))


def _read_run(path: Path) -> Iterator[Document]:
    return chain.from_iterable(read_batches(path))
