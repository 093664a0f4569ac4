"""The splits of a corpus on disk: prompts kept apart, overlap measured. The text never lies in memory.

Which documents there are, and which of them are prompts, says `ablab.corpora.dedup`.

**Order.** Train keeps the order of its sources (training permutes its blocks). The held-out splits stand in the order
of a hash of (split_seed, words), so any beginning of them (the first tokens that a loss is measured on, the first
prompts) is a sample of all sources.

**Overlap.** The share of the distinct 13-grams of words of `seed`, `validation` and `test` that `train` holds.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablab.corpora.dedup import Counts, Ranks, Reader, last_prompt
from ablab.corpora.documents import Document
from ablab.corpora.ngrams import DistinctNgrams, shares_held, stream_ngrams
from ablab.corpora.sorting import in_order
from ablab.corpora.streams import DocumentWriter, read_batches, read_texts
from ablab.errors import RunError
from ablab.spec.corpus import Corpus

SPLITS = ("train", "seed", "validation", "test")
HELD_OUT = ("seed", "validation", "test")
OVERLAP_N = 13


def build_splits(
    corpus: Corpus, locations: Mapping[str, Path], out: Path, work: Path, heard: Callable[[int], None]
) -> dict[str, Any]:
    """Write `{train,seed,validation,test}.parquet` under `out`; returns the result of the corpus stage.

    `work` holds the undivided train documents, and what is being sorted, meanwhile. `heard` is told the words of every
    document read.
    """
    counts = Counts()
    reader = Reader(corpus, locations, heard, counts)
    for split in ("test", "validation"):  # before train: of equal documents the one that is read first is kept
        _write_held_out(split, reader.new_documents(split), out, work, counts)
    undivided = work / "undivided.parquet"
    ranks = _gather(reader, undivided)
    reader.seen.clear()
    last = {name: last_prompt(name, of, corpus.seed_share) for name, of in ranks.items()}
    with DocumentWriter(out / "train.parquet") as train:
        _write_held_out("seed", _divide(undivided, ranks, last, train, counts), out, work, counts)
    undivided.unlink()
    names = [source.name for source in corpus.sources]
    return {
        "splits": {split: _not_empty(split, counts.of(split, names)) for split in SPLITS},
        "sources": {name: {split: counts.of(split, [name]) for split in SPLITS} for name in names},
        "duplicates_removed": counts.duplicates,
        "overlap": overlap(out),
    }


def overlap(directory: Path) -> dict[str, float]:
    """Share of the distinct 13-grams of every held-out split that the train split holds."""
    held_out = []
    for split in HELD_OUT:
        grams = DistinctNgrams()
        for values in stream_ngrams(read_texts(directory / f"{split}.parquet"), OVERLAP_N):
            grams.add(values)
        held_out.append(grams)
    train = stream_ngrams(read_texts(directory / "train.parquet"), OVERLAP_N)
    return dict(zip(HELD_OUT, shares_held(held_out, train), strict=True))


def _gather(reader: Reader, undivided: Path) -> Ranks:
    """Write what is new in the train files; returns the rank of every document, by source."""
    ranks: Ranks = {source.name: array("Q") for source in reader.corpus.sources}
    with DocumentWriter(undivided) as writer:
        for document, rank in reader.new_documents("train"):
            writer.write(document)
            ranks[document.source].append(rank)
    return ranks


def _divide(
    undivided: Path, ranks: Ranks, last: Mapping[str, int], train: DocumentWriter, counts: Counts
) -> Iterator[tuple[Document, int]]:
    """Write the train documents among the undivided ones, in their order; yields the others, the prompts."""
    following = {name: iter(of) for name, of in ranks.items()}
    for batch in read_batches(undivided):
        for document in batch:
            rank = next(following[document.source])
            if rank <= last[document.source]:
                yield document, rank
            else:
                train.write(document)
                counts.add("train", document)


def _write_held_out(split: str, ranked: Iterable[tuple[Document, int]], out: Path, work: Path, counts: Counts) -> None:
    """Write a held-out split in the order of its ranks."""
    with DocumentWriter(out / f"{split}.parquet") as writer:
        for document in in_order(ranked, work):
            writer.write(document)
            counts.add(split, document)


def _not_empty(split: str, count: dict[str, int]) -> dict[str, int]:
    if count["documents"] == 0:
        raise RunError(f"the corpus has no {split} document once duplicates are removed", "give the sources more text")
    return count
