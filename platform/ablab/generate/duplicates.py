"""Which generated texts are left out because the corpus holds them, or nearly them, already. The first one stays."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ablab.corpora.fingerprints import fingerprint
from ablab.spec.synthetic import ExactDuplicates, NearDuplicates

PERMUTATIONS = 128
"""Of a MinHash; its estimate of a similarity s has a standard error of sqrt(s (1 - s) / 128), 0.035 at 0.8."""


class Duplicates(Protocol):
    """Asked of every text in the order of the corpus."""

    def seen(self, text: str) -> bool:
        """True when the text is a duplicate of one asked of before that was none; else it is remembered."""
        ...


class NoDuplicates:
    """Keeps everything."""

    def seen(self, text: str) -> bool:  # noqa: ARG002
        return False


class Exact:
    """Texts are equal when their words are, as for real text (`ablab.corpora.fingerprints`)."""

    def __init__(self) -> None:
        self._fingerprints: set[bytes] = set()

    def seen(self, text: str) -> bool:
        value = fingerprint(text)
        known = value in self._fingerprints
        self._fingerprints.add(value)
        return known


class Near:
    """Texts are near when the Jaccard similarity of their sets of word n-grams is at least `similarity`.

    Estimated by MinHash (Broder 1997) and looked up by locality-sensitive hashing, both of datasketch; a text of fewer
    words is one n-gram. A text whose estimate is at the bound may fall to either side, always to the same.

    It remembers about 6 kB of every text that it keeps: with `Exact`, all in generation that grows with the corpus.
    """

    def __init__(self, similarity: float, ngram: int) -> None:
        from datasketch import MinHash, MinHashLSH

        self.similarity, self.ngram = similarity, ngram
        # what the index finds is looked at again, so it errs on the side of finding
        self._index = MinHashLSH(min(similarity, 0.95), num_perm=PERMUTATIONS, weights=(0.1, 0.9))
        self._empty = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32")
        self._hashes: list[npt.NDArray[np.uint32]] = []

    def seen(self, text: str) -> bool:
        words = text.split()
        ends = range(self.ngram, max(len(words), self.ngram) + 1)
        hashed = self._empty.copy()
        hashed.update_batch([" ".join(words[end - self.ngram : end]).encode() for end in ends])
        found = (float((hashed.hashvalues == self._hashes[kept]).mean()) for kept in self._index.query(hashed))
        if any(jaccard >= self.similarity for jaccard in found):
            return True
        self._index.insert(len(self._hashes), hashed)
        self._hashes.append(hashed.hashvalues)
        return False


def duplicates_of(declared: ExactDuplicates | NearDuplicates | None) -> Duplicates:
    """The declared rule, with nothing seen yet."""
    if declared is None:
        return NoDuplicates()
    if isinstance(declared, ExactDuplicates):
        return Exact()
    return Near(declared.similarity, declared.ngram)
