"""Splits: exact duplicates removed, prompts kept apart, overlap measured. Train text never lies in memory.

**Duplicates.** Two documents are the same when their NFKC forms have the same whitespace words. One copy is kept,
before anything is split: the first in the order test, validation, train and there of the sources. So a document that
occurs in train and in a held-out part stays held out and leaves train, and no document is in two splits.

**Seed.** Of every source the share `seed_share` of its remaining train documents (rounded, at least one) goes to the
split `seed`: those with the smallest hash of (split_seed, words), so the choice does not depend on their order.

**Order.** Train keeps the order of its sources (training permutes its blocks). The held-out splits stand in the order
of that hash, so any beginning of them (the first tokens that a loss is measured on, the first prompts) is a sample of
all sources; for this they are held in memory, one at a time.

**Overlap.** The share of the distinct 13-grams of words of `seed`, `validation` and `test` that `train` holds.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablab.corpora.ngrams import DistinctNgrams, normal_words, shares_held, stream_ngrams
from ablab.corpora.sources import read_source
from ablab.corpora.streams import Document, DocumentWriter, read_batches, read_texts
from ablab.errors import RunError
from ablab.spec.corpus import Corpus

SPLITS = ("train", "seed", "validation", "test")
HELD_OUT = ("seed", "validation", "test")
OVERLAP_N = 13


@dataclass
class Counts:
    """Documents and whitespace words by source and split."""

    documents: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    words: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    duplicates: int = 0

    def add(self, split: str, document: Document) -> None:
        self.documents[document.source, split] += 1
        self.words[document.source, split] += len(document.text.split())

    def of(self, split: str, sources: Sequence[str]) -> dict[str, int]:
        """Totals of one split over some sources."""
        return {
            "documents": sum(self.documents[name, split] for name in sources),
            "words": sum(self.words[name, split] for name in sources),
        }


@dataclass(frozen=True)
class Reader:
    """Reads the documents of a corpus, without those that it has given before."""

    corpus: Corpus
    locations: Mapping[str, Path]
    heard: Callable[[int], None]
    """Told the words of every document that was read."""
    counts: Counts
    seen: set[bytes] = field(default_factory=set)

    def new_documents(self, split: str) -> Iterator[tuple[Document, bytes]]:
        """Documents with their fingerprints, source by source. The ids tell source, file and place in it."""
        for source in self.corpus.sources:
            for index, text in enumerate(read_source(source, split, self.locations)):
                self.heard(len(text.split()))
                mark = fingerprint(text)
                if mark in self.seen:
                    self.counts.duplicates += 1
                    continue
                self.seen.add(mark)
                yield Document(f"{source.name}/{split}/{index:08d}", source.name, text), mark


def fingerprint(text: str) -> bytes:
    """128 bits that documents share when they are the same."""
    return hashlib.blake2b(" ".join(normal_words(text)).encode("utf-8"), digest_size=16).digest()


def build_splits(
    corpus: Corpus, locations: Mapping[str, Path], out: Path, work: Path, heard: Callable[[int], None]
) -> dict[str, Any]:
    """Write `{train,seed,validation,test}.parquet` under `out`; returns the result of the corpus stage.

    `work` holds the undivided train documents meanwhile. `heard` is told the words of every document read.
    """
    counts = Counts()
    reader = Reader(corpus, locations, heard, counts)
    for split in ("test", "validation"):  # before train: of equal documents the one that is read first is kept
        held_out = [(_rank(corpus.split_seed, mark), document) for document, mark in reader.new_documents(split)]
        _write_held_out(split, held_out, out, counts)
    undivided = work / "undivided.parquet"
    ranks = _gather(reader, undivided, corpus.split_seed)
    last = {name: _last_prompt(name, of, corpus.seed_share) for name, of in ranks.items()}
    _divide(undivided, out, ranks, last, counts)
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


def _gather(reader: Reader, undivided: Path, split_seed: int) -> dict[str, list[int]]:
    """Write what is new in the train files; returns the rank of every document, by source."""
    ranks: dict[str, list[int]] = {source.name: [] for source in reader.corpus.sources}
    with DocumentWriter(undivided) as writer:
        for document, mark in reader.new_documents("train"):
            writer.write(document)
            ranks[document.source].append(_rank(split_seed, mark))
    return ranks


def _rank(split_seed: int, mark: bytes) -> int:
    """64 bits that decide who is a prompt: the smallest of a source are."""
    return int.from_bytes(hashlib.blake2b(b"%d:%b" % (split_seed, mark), digest_size=8).digest(), "big")


def _last_prompt(name: str, ranks: Sequence[int], share: float) -> int:
    """The highest rank with which a train document of a source goes to the seed split."""
    if len(ranks) < 2:
        raise RunError(
            f"source {name!r} has {len(ranks)} train documents once duplicates are removed; it needs two, "
            "one of them for prompts",
            "give it more text",
        )
    count = min(max(round(share * len(ranks)), 1), len(ranks) - 1)
    return sorted(ranks)[count - 1]


def _divide(
    undivided: Path, out: Path, ranks: Mapping[str, Sequence[int]], last: Mapping[str, int], counts: Counts
) -> None:
    """Divide the undivided documents into train, in their order, and seed."""
    following = {name: iter(of) for name, of in ranks.items()}
    prompts: list[tuple[int, Document]] = []
    with DocumentWriter(out / "train.parquet") as train:
        for batch in read_batches(undivided):
            for document in batch:
                rank = next(following[document.source])
                if rank <= last[document.source]:
                    prompts.append((rank, document))
                else:
                    train.write(document)
                    counts.add("train", document)
    _write_held_out("seed", prompts, out, counts)


def _write_held_out(split: str, ranked: list[tuple[int, Document]], out: Path, counts: Counts) -> None:
    """Write a held-out split in the order of its ranks."""
    with DocumentWriter(out / f"{split}.parquet") as writer:
        for _, document in sorted(ranked, key=lambda one: (one[0], one[1].id)):
            writer.write(document)
            counts.add(split, document)


def _not_empty(split: str, count: dict[str, int]) -> dict[str, int]:
    if count["documents"] == 0:
        raise RunError(f"the corpus has no {split} document once duplicates are removed", "give the sources more text")
    return count
