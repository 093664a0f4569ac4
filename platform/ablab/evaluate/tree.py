"""Texts that begin alike as trees of tokens, so that a common beginning is computed once.

Sorted texts form a tree: a node is a token with all tokens before it, and its ancestors are its context. A tree is
written down in depth-first order, where the descendants of a node stand right behind it: node j is an ancestor of
node i if j <= i < end[j]. So one forward pass with that as its mask scores many texts. Trees are cut into pieces that
bound the cost of attention; a piece computes the beginning of its first text again.
"""

# B trees of a batch, S nodes of the largest, M nodes behind which something is scored, N scored tokens

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ablab.corpora.requests import Query

Ints = NDArray[np.int64]

LEAST_NODES = 128
"""A tree may have so many nodes; fewer cost more in repeated beginnings than they save in attention."""
NODES_PER_LENGTH = 2
"""Or so many times the tokens of its longest text, for the same reason."""
NODES_PER_ROW = 64
"""Nodes of a batch for each of its rows: the tokens of a typical text or two."""


@dataclass(frozen=True)
class Batch:
    """Trees that are computed together, padded on the right by nodes that nothing looks at."""

    tokens_BS: Ints
    depths_BS: Ints
    """Position of each token in its texts."""
    ends_BS: Ints
    """Behind the last descendant of each node; a node counts as its own descendant."""
    nodes: int
    """Without padding."""
    behind_M: Ints
    """Nodes (b x S + s) behind which tokens are scored, rising."""
    rows_N: Ints
    """For every scored token its place in `behind_M`."""
    targets_N: Ints
    queries: Sequence[int]
    counts: Sequence[int]
    """Of each query its number, and how many scored tokens it has; they stand in its order."""


@lru_cache(maxsize=2)  # the texts and the words of the suites: the next checkpoint asks the same
def plan(queries: tuple[Query, ...], rows: int) -> tuple[Batch, ...]:
    """Batches that score every query, the largest trees last. The order of the queries changes numbers alone."""
    trees = sorted(_trees(queries), key=lambda tree: len(tree.tokens))  # stable
    batches: list[Batch] = []
    some: list[_Tree] = []
    for tree in trees:
        if some and (len(some) == rows or (len(some) + 1) * len(tree.tokens) > rows * NODES_PER_ROW):
            batches.append(_batch(some))
            some = []
        some.append(tree)
    return (*batches, *([_batch(some)] if some else ()))


class _Tree:
    """A tree that grows by sorted texts. `path` holds the nodes of the last text by depth."""

    def __init__(self, longest: int) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.ends: list[int] = []
        self.path: list[int] = []
        self.longest = longest
        self.queries: list[int] = []
        self.nodes: list[list[int]] = []
        self.targets: list[tuple[int, ...]] = []

    def add(self, number: int, query: Query, common: int) -> None:
        """A text that shares its first `common` nodes with the one before. Its last token is a target alone."""
        size, length = len(self.tokens), len(query.tokens) - 1
        for node in self.path[common:]:
            self.ends[node] = size
        new = length - common
        self.tokens += query.tokens[common:length]
        self.depths += range(common, length)
        self.ends += [size + new] * new
        self.path[common:] = range(size, size + new)
        self.longest = max(self.longest, length)
        self.queries.append(number)
        self.nodes.append(self.path[query.first - 1 : length])
        self.targets.append(query.tokens[query.first :])

    def close(self) -> None:
        for node in self.path:
            self.ends[node] = len(self.tokens)


def _trees(queries: Sequence[Query]) -> Iterator[_Tree]:
    order = sorted(range(len(queries)), key=lambda i: (queries[i].tokens, queries[i].first))
    tree = _Tree(0)
    previous: tuple[int, ...] = ()
    for number in order:
        tokens, length = queries[number].tokens, len(queries[number].tokens) - 1
        common = min(_common(previous, tokens), len(previous) - 1, length) if previous else 0
        limit = max(LEAST_NODES, NODES_PER_LENGTH * max(tree.longest, length))
        if tree.queries and len(tree.tokens) + length - common > limit:
            tree.close()
            yield tree
            tree, common = _Tree(0), 0
        tree.add(number, queries[number], common)
        previous = tokens
    if tree.queries:
        tree.close()
        yield tree


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common beginning, by bisection: comparing slices is much faster than a loop."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _batch(trees: Sequence[_Tree]) -> Batch:
    size = max(len(tree.tokens) for tree in trees)
    tokens_BS = np.zeros((len(trees), size), dtype=np.int64)
    depths_BS = np.zeros_like(tokens_BS)
    ends_BS = np.tile(np.arange(1, size + 1), (len(trees), 1))
    for row, tree in enumerate(trees):
        nodes = len(tree.tokens)
        tokens_BS[row, :nodes], depths_BS[row, :nodes], ends_BS[row, :nodes] = tree.tokens, tree.depths, tree.ends
    scored = [nodes for tree in trees for nodes in tree.nodes]
    counts = [len(nodes) for nodes in scored]
    starts = np.repeat([row * size for row, tree in enumerate(trees) for _ in tree.nodes], counts)
    nodes_N = starts + np.fromiter(chain.from_iterable(scored), np.int64, sum(counts))
    behind_M, rows_N = np.unique(nodes_N, return_inverse=True)
    return Batch(
        tokens_BS=tokens_BS,
        depths_BS=depths_BS,
        ends_BS=ends_BS,
        nodes=sum(len(tree.tokens) for tree in trees),
        behind_M=behind_M,
        rows_N=rows_N,
        targets_N=np.fromiter(chain.from_iterable(t for tree in trees for t in tree.targets), np.int64, sum(counts)),
        queries=[number for tree in trees for number in tree.queries],
        counts=counts,
    )
