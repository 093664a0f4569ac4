"""Word n-grams of large texts in bounded memory: how many are distinct, and how many another text holds.

Words are the whitespace words of the NFKC form, so that text that went through the tokenizer's normalisation
compares with text that did not. An n-gram is a 64-bit hash, the same on every machine; n-grams do not run across
documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ablab.corpora.fingerprints import normal_words

# N n-grams, W words

Hashes = NDArray[np.uint64]

_KNOWN_WORDS = 1 << 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class NgramHasher:
    """Hashes n-grams of batches of documents; keeps the hashes of the words it has met, up to a million."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def words(self, texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
        """Word hashes of all texts in a row [W], and for every word how many follow in its document [W]."""
        hashes: list[int] = []
        lengths: list[int] = []
        for text in texts:
            words = normal_words(text)
            hashes.extend(map(self._hash, words))
            lengths.append(len(words))
        ends = np.repeat(np.cumsum(lengths, dtype=np.int64), lengths)
        return np.array(hashes, dtype=np.uint64), ends - np.arange(len(hashes)) - 1

    def _hash(self, word: str) -> int:
        value = self._known.get(word)
        if value is None:
            if len(self._known) >= _KNOWN_WORDS:
                self._known.clear()
            digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
            value = self._known[word] = int.from_bytes(digest, "little")
        return value


def ngrams(words: Hashes, following: NDArray[np.int64], n: int) -> Hashes:
    """Hash of every n-gram [N] of the words [W]: a polynomial in the word hashes, then mixed."""
    count = max(len(words) - n + 1, 0)
    values = np.zeros(count, dtype=np.uint64)
    for place in range(n):
        values = values * _MULTIPLIER + words[place : place + count]
    return _mix(values[following[:count] >= n - 1])


def _mix(values: Hashes) -> Hashes:
    """The finalizer of splitmix64 (Steele et al. 2014): makes every bit depend on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class DistinctNgrams:
    """The set of distinct n-grams of a text: exact up to `limit`, above it a sample of at most `limit`.

    The sample holds the n-grams whose hash is a multiple of 2^bits (distinct sampling, Gibbons 2001), with the
    smallest `bits` that fits; it depends on the set alone, not on the order in which it was seen.
    """

    def __init__(self, limit: int = 1 << 23) -> None:
        self.limit = limit
        self.total = 0
        """N-grams added, repeated ones counted each time."""
        self._bits = 0
        self._values: Hashes = np.zeros(0, dtype=np.uint64)
        self._pending: list[Hashes] = []
        self._waiting = 0

    def add(self, values: Hashes) -> None:
        self.total += len(values)
        kept = self._sampled(values)
        self._pending.append(kept)
        self._waiting += len(kept)
        if self._waiting > self.limit // 4:
            self._compact()

    @property
    def distinct(self) -> int:
        """How many there are; an estimate (within a few tenths of a percent) above `limit`."""
        self._compact()
        return len(self._values) << self._bits

    def held(self, others: Iterable[Hashes]) -> NDArray[np.bool_]:
        """Which of the distinct n-grams occur in a stream of others [len of the set]."""
        found = self.nothing_found()
        for values in others:
            self.mark(values, found)
        return found

    def mark(self, values: Hashes, found: NDArray[np.bool_]) -> None:
        """Set `found` [len of the set] where the set's n-gram is among `values`."""
        kept = np.sort(self._sampled(values))  # neighbours are searched for in neighbouring memory: 14 times as fast
        if len(self._values) == 0 or len(kept) == 0:
            return
        at = np.searchsorted(self._values, kept)
        at[at == len(self._values)] = 0
        found[at[self._values[at] == kept]] = True

    def nothing_found(self) -> NDArray[np.bool_]:
        """A `found` for `mark` in which nothing is found yet."""
        self._compact()
        return np.zeros(len(self._values), dtype=np.bool_)

    def _sampled(self, values: Hashes) -> Hashes:
        mask = np.uint64((1 << self._bits) - 1)
        return values[values & mask == 0] if self._bits else values

    def _compact(self) -> None:
        if not self._pending:
            return
        pending, self._pending, self._waiting = self._pending, [], 0
        self._values = _distinct(np.concatenate([self._values, *pending]))
        while len(self._values) > self.limit:
            self._bits += 1
            self._values = self._sampled(self._values)


def _distinct(values: Hashes) -> Hashes:
    """The different values, ascending; sorts `values`. np.unique hashes them first, which takes 100 times as long."""
    values.sort()
    first = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values[first]


def shares_held(sets: Sequence[DistinctNgrams], stream: Iterable[Hashes]) -> list[float]:
    """For every set the share of its distinct n-grams that occur in the stream; 0 for an empty set."""
    found = [one.nothing_found() for one in sets]
    for values in stream:
        for one, seen in zip(sets, found, strict=True):
            one.mark(values, seen)
    return [float(seen.mean()) if len(seen) else 0.0 for seen in found]


def stream_ngrams(batches: Iterable[Sequence[str]], n: int) -> Iterator[Hashes]:
    """The n-grams of batches of documents, batch by batch."""
    hasher = NgramHasher()
    for texts in batches:
        words, following = hasher.words(texts)
        yield ngrams(words, following, n)
