"""How long documents are: quantiles and a histogram whose edges are the same for every corpus."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
BINS_PER_DOUBLING = 4


class Lengths:
    """Counts documents by their whitespace words; memory grows with the number of different lengths alone."""

    def __init__(self) -> None:
        self._documents: Counter[int] = Counter()

    def add(self, words: int) -> None:
        self._documents[words] += 1

    @property
    def documents(self) -> int:
        return self._documents.total()

    @property
    def words(self) -> int:
        return sum(length * count for length, count in self._documents.items())

    def quantiles(self) -> dict[str, int] | None:
        """Words by name: the shortest length that so great a share of the documents does not exceed; None without."""
        if not self._documents:
            return None
        wanted = {name: max(1.0, share * self.documents) for name, share in QUANTILES.items()}
        found: dict[str, int] = {}
        below = 0
        for length, count in sorted(self._documents.items()):
            below += count
            found |= {name: length for name, rank in wanted.items() if name not in found and below >= rank}
        return found

    def histogram(self) -> dict[str, Any]:
        """Of `documents[i]` documents the words are `edges[i]` or more and fewer than `edges[i + 1]`."""
        edges = _edges(max(self._documents, default=0))
        documents = [0] * (len(edges) - 1)
        for length, count in self._documents.items():
            documents[bisect_right(edges, length) - 1] += count
        return {"edges": edges, "documents": documents}


def _edges(longest: int) -> list[int]:
    """From 0 to the first above `longest`: one by one to 17, then by factors of 2^(1/4)."""
    edges, step = [0, 1], 0
    while edges[-1] <= longest:
        step += 1
        edges.append(max(edges[-1] + 1, round(2.0 ** (step / BINS_PER_DOUBLING))))
    return edges
