"""Which generated texts are left out because the corpus holds them, or nearly them, already. The first one stays."""

from __future__ import annotations

from typing import Protocol

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
    """

    def __init__(self, similarity: float, ngram: int) -> None:
        from datasketch import MinHashLSH

        self.similarity, self.ngram, self._count = similarity, ngram, 0
        # what the index finds is looked at again, so it errs on the side of finding
        self._index = MinHashLSH(min(similarity, 0.95), num_perm=PERMUTATIONS, weights=(0.1, 0.9))
        self._hashes: dict[str, object] = {}

    def seen(self, text: str) -> bool:
        from datasketch import MinHash

        words = text.split()
        ends = range(self.ngram, max(len(words), self.ngram) + 1)
        hashed = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32")
        hashed.update_batch([" ".join(words[end - self.ngram : end]).encode() for end in ends])
        if any(hashed.jaccard(self._hashes[name]) >= self.similarity for name in self._index.query(hashed)):
            return True
        name = str(self._count)
        self._count += 1
        self._index.insert(name, hashed)
        self._hashes[name] = hashed
        return False


def duplicates_of(declared: ExactDuplicates | NearDuplicates | None) -> Duplicates:
    """The declared rule, with nothing seen yet."""
    if declared is None:
        return NoDuplicates()
    if isinstance(declared, ExactDuplicates):
        return Exact()
    return Near(declared.similarity, declared.ngram)
