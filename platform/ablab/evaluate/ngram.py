"""An n-gram model with interpolated modified Kneser-Ney smoothing, in sorted numpy arrays.

Source: Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling";
counts of n-grams that begin a document as in Heafield et al. 2013 (KenLM). With history h, h' one token shorter:

    p(w | h) = max(a(hw) - D(a(hw)), 0) / a(h.) + gamma(h) p(w | h'),    and below the unigram 1 / V

a(.) is the count at the highest order; below it the number of different tokens seen in front of the n-gram
(its count where none ever was, that is at the start of a document). gamma(h) is what the discounts leave, so
that p(. | h) sums to one over the vocabulary. No history reaches back beyond the latest `<s>`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablab.corpora.requests import Query

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For adjusted counts 1, 2, 3 and more where their own counts allow no estimate (KenLM's values)."""


@dataclass(frozen=True)
class Level:
    """All n-grams of one order. A history is named by its index in the level below (0 for the empty one)."""

    keys: Ints  # [n] sorted: history index x V + last token
    mass: Floats  # [n] discounted adjusted count
    total: Floats  # [histories] adjusted counts of all its continuations
    backoff: Floats  # [histories] gamma

    def find(self, history: Ints, token: Ints, vocab_size: int) -> Ints:
        """Index of each n-gram; -1 where it was never seen or its history is -1."""
        wanted = history * vocab_size + token
        index = np.searchsorted(self.keys, wanted)
        index[index == len(self.keys)] = 0
        return np.where((history >= 0) & (self.keys[index] == wanted), index, -1)


class NGram:
    """A trained model; a `TokenScorer` without a limit of context."""

    context = None

    def __init__(self, levels: Sequence[Level], vocab_size: int, bos: int) -> None:
        self._levels = levels
        self._vocab_size = vocab_size
        self._bos = bos

    def completions(self, queries: Sequence[Query]) -> list[float]:
        """See `TokenScorer`. Sums are exact, so that texts with the same factors tie exactly."""
        lengths = np.array([len(query.tokens) for query in queries], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        tokens = np.concatenate([np.array(query.tokens, dtype=np.int64) for query in queries])
        log_probs = self._log_probs(tokens, starts).tolist()
        spans = zip(queries, starts.tolist(), lengths.tolist(), strict=True)
        return [math.fsum(log_probs[start + query.first : start + length]) for query, start, length in spans]

    def stream(self, tokens: Ints) -> Floats:
        """See `TokenScorer`. Histories cross no document, except that `<s>` is predicted from the one before."""
        log_probs: Floats = self._log_probs(tokens, np.zeros(1, dtype=np.int64))[1:]
        return log_probs

    def _log_probs(self, tokens: Ints, starts: Ints) -> Floats:
        """log p of every token given up to order - 1 tokens before it in its sequence."""
        reach = history_lengths(tokens, starts, self._bos)
        probs = np.full(len(tokens), 1.0 / self._vocab_size)
        history = np.zeros(len(tokens), dtype=np.int64)
        for order, level in enumerate(self._levels, start=1):
            if not len(level.keys):
                break
            history = np.where(reach >= order - 1, history, -1)
            index = level.find(history, tokens, self._vocab_size)
            known = (history >= 0) & (level.total[history] > 0)
            mass = np.where(index >= 0, level.mass[index], 0.0)
            total = np.where(known, level.total[history], 1.0)
            probs = np.where(known, mass / total + level.backoff[history] * probs, probs)
            history = np.concatenate([[-1], index[:-1]])
        log_probs: Floats = np.log(probs)
        return log_probs


def history_lengths(tokens: Ints, starts: Ints, bos: int) -> Ints:
    """How many tokens each one may look back on: to its sequence's start, or the latest `<s>` before it, included."""
    index = np.arange(len(tokens))
    begins = np.where(tokens == bos, index, 0)
    begins[starts] = starts
    begins = np.maximum.accumulate(begins)
    begins = np.concatenate([[0], begins[:-1]])
    begins[starts] = starts
    return index - begins


def train_ngram(tokens: Ints, order: int, vocab_size: int, bos: int) -> NGram:
    """Count and smooth a stream [n] of documents that begin with `bos`. Memory: about 60 bytes x order per token."""
    reach = history_lengths(tokens, np.zeros(1, dtype=np.int64), bos)
    keys = [np.arange(vocab_size, dtype=np.int64)]
    counts = [np.bincount(tokens[1:], minlength=vocab_size)]
    node = tokens  # index of the n-gram of the present order that ends here; -1 where none does
    for length in range(1, order):
        ends = np.flatnonzero(reach >= length)
        level_keys, inverse, level_counts = np.unique(
            node[ends - 1] * vocab_size + tokens[ends], return_inverse=True, return_counts=True
        )
        some_end = np.empty(len(level_keys), dtype=np.int64)
        some_end[inverse] = ends
        preceded = np.bincount(node[some_end], minlength=len(keys[-1]))
        counts[-1] = np.where(preceded > 0, preceded, counts[-1])
        keys.append(level_keys)
        counts.append(level_counts)
        node = np.full(len(tokens), -1, dtype=np.int64)
        node[ends] = inverse
    histories = [1] + [len(level_keys) for level_keys in keys[:-1]]
    levels = [_smooth(k, c, h, vocab_size) for k, c, h in zip(keys, counts, histories, strict=True)]
    return NGram(levels, vocab_size, bos)


def _smooth(keys: Ints, counts: Ints, histories: int, vocab_size: int) -> Level:
    by_count: Floats = np.array([0.0, *discounts(counts)], dtype=np.float64)
    discount = by_count[np.minimum(counts, 3)]
    history = keys // vocab_size
    total = np.bincount(history, weights=counts, minlength=histories).astype(np.float64)
    removed = np.bincount(history, weights=discount, minlength=histories)
    return Level(keys, counts - discount, total, removed / np.maximum(total, 1.0))


def discounts(counts: Ints) -> tuple[float, float, float]:
    """D1, D2, D3+ (Chen & Goodman 1999) from how many n-grams have the adjusted counts 1 to 4."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    usable = all(0 < discount <= count for count, discount in enumerate(found, start=1))
    return found if usable else FALLBACK_DISCOUNTS
