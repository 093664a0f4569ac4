"""Fingerprints of documents: who is the same, who is held out, and how much two sources share."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappush, heapreplace

SKETCH_SIZE = 256
"""Fingerprints that a sketch keeps (its k)."""
FEWEST_COMPARED = 16
"""Documents of the smaller side that an estimate from samples needs at least."""

Sketch = tuple[int, ...]
"""The smallest 64-bit fingerprints of some documents, ascending, at most `SKETCH_SIZE`."""


def normal_words(text: str) -> list[str]:
    """The whitespace words of a text in NFKC."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).split()


def fingerprint(text: str) -> bytes:
    """128 bits that documents share when they are the same: when their NFKC forms have the same words."""
    return hashlib.blake2b(" ".join(normal_words(text)).encode("utf-8"), digest_size=16).digest()


def rank(split_seed: int, mark: bytes) -> int:
    """64 bits of a fingerprint that decide who is a prompt: the smallest of a source are."""
    return int.from_bytes(hashlib.blake2b(b"%d:%b" % (split_seed, mark), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class HeldOut:
    """Takes held-out documents from train, where a source has no text of its own for them.

    A document stands at a place from 0 to 1 that follows from (split_seed, its words) alone: below `share` it is
    validation, from there to twice `share` test, if the source lacks them; the rest is train. So it is always in the
    same split, whatever else the source holds and in whatever order.
    """

    share: float
    split_seed: int
    lacking: tuple[str, ...]
    """'validation', 'test' or both."""

    def split_of(self, mark: bytes) -> str:
        """The split that the train document with this fingerprint goes to."""
        content = b"held out:%d:%b" % (self.split_seed, mark)
        place = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") / 2.0**64
        if place < self.share and "validation" in self.lacking:
            return "validation"
        if self.share <= place < 2.0 * self.share and "test" in self.lacking:
            return "test"
        return "train"


class Sketcher:
    """Keeps the smallest fingerprints of a stream of documents: a bottom-k sketch (Cohen & Kaplan 2007)."""

    def __init__(self) -> None:
        self._largest_first: list[int] = []  # a heap of the negative values
        self._kept: set[int] = set()

    def add(self, mark: bytes) -> None:
        value = int.from_bytes(mark[:8], "big")
        if value in self._kept:
            return
        if len(self._kept) < SKETCH_SIZE:
            heappush(self._largest_first, -value)
        elif value < -self._largest_first[0]:
            self._kept.discard(-heapreplace(self._largest_first, -value))
        else:
            return
        self._kept.add(value)

    def sketch(self) -> Sketch:
        return tuple(sorted(self._kept))


def merged(sketches: Iterable[Sequence[int]]) -> Sketch:
    """The sketch of all documents together."""
    return tuple(sorted({value for sketch in sketches for value in sketch})[:SKETCH_SIZE])


def estimated_overlap(one: Sketch, other: Sketch) -> float | None:
    """The share of the smaller side's documents that the other side has as well; exact where both sketches hold all.

    None where the smaller side has too few documents in the part of the fingerprints that both sketches cover.
    """
    limits = [sketch[-1] for sketch in (one, other) if len(sketch) == SKETCH_SIZE]
    limit = min(limits, default=None)
    first, second = ({value for value in sketch if limit is None or value <= limit} for sketch in (one, other))
    fewest = min(len(first), len(second))
    if fewest < (1 if limit is None else FEWEST_COMPARED):
        return None
    return len(first & second) / fewest
