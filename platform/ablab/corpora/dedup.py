"""Which documents a corpus has: exact duplicates removed, prompts kept apart. Needs nothing but the documents.

**Duplicates.** Two documents are the same when their NFKC forms have the same whitespace words. One copy is kept,
before anything is split: the first in the order test, validation, train and there of the sources. So a document that
occurs in train and in a held-out part stays held out and leaves train, and no document is in two splits.

**Seed.** Of every source the share `seed_share` of its remaining train documents (rounded, at least one) goes to the
split `seed`: those with the smallest hash of (split_seed, words), so the choice does not depend on their order.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablab.corpora.documents import Document
from ablab.corpora.fingerprints import fingerprint, rank
from ablab.corpora.sources import read_source
from ablab.errors import RunError
from ablab.spec.corpus import Corpus

Ranks = dict[str, "array[int]"]
"""64-bit rank of every train document, by source, in order: 8 bytes a document."""


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
    """Fingerprints: what grows with a corpus in memory, about 90 bytes a document."""

    def new_documents(self, split: str) -> Iterator[tuple[Document, int]]:
        """Documents with their ranks, source by source. The ids tell source, split and place in it."""
        seed = self.corpus.split_seed
        for source in self.corpus.sources:
            for index, text in enumerate(read_source(source, split, self.locations, seed)):
                self.heard(len(text.split()))
                mark = fingerprint(text)
                if mark in self.seen:
                    self.counts.duplicates += 1
                    continue
                self.seen.add(mark)
                yield Document(f"{source.name}/{split}/{index:08d}", source.name, text), rank(seed, mark)


def last_prompt(name: str, ranks: Sequence[int], share: float) -> int:
    """The highest rank with which a train document of a source goes to the seed split."""
    if len(ranks) < 2:
        raise RunError(
            f"source {name!r} has {len(ranks)} train documents once duplicates are removed; it needs two, "
            "one of them for prompts",
            "give it more text",
        )
    count = min(max(round(share * len(ranks)), 1), len(ranks) - 1)
    return sorted(ranks)[count - 1]


def train_texts(corpus: Corpus, locations: Mapping[str, Path]) -> list[str]:
    """The texts of the train split of a small corpus, in memory, as the corpus stage writes them. Raises RunError."""
    reader = Reader(corpus, locations, _unheard, Counts())
    for split in ("test", "validation"):
        for _ in reader.new_documents(split):
            pass
    documents = list(reader.new_documents("train"))
    last = {}
    for source in corpus.sources:
        ranks = [place for document, place in documents if document.source == source.name]
        last[source.name] = last_prompt(source.name, ranks, corpus.seed_share)
    return [document.text for document, place in documents if place > last[document.source]]


def _unheard(_words: int) -> None:
    """For a reading whose progress nobody follows."""
