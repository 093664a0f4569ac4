"""Counting and comparing n-grams."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ablab.corpora.ngrams import DistinctNgrams, NgramHasher, ngrams, shares_held, stream_ngrams

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=12).map(" ".join), min_size=1, max_size=6)


def reference(texts: list[str], n: int) -> list[tuple[str, ...]]:
    rows = [text.split() for text in texts]
    return [tuple(words[i : i + n]) for words in rows for i in range(len(words) - n + 1)]


def counted(texts: list[str], n: int, limit: int = 1 << 20) -> DistinctNgrams:
    found = DistinctNgrams(limit)
    for values in stream_ngrams([[text] for text in texts], n):
        found.add(values)
    return found


@settings(deadline=None)
@given(TEXTS, st.integers(1, 14))
def test_ngrams_do_not_cross_documents(texts: list[str], n: int) -> None:
    values = ngrams(*NgramHasher().words(texts), n)
    expected = reference(texts, n)
    assert len(values) == len(expected)
    assert len(np.unique(values)) == len(set(expected))


@settings(deadline=None)
@given(TEXTS, st.integers(1, 4))
def test_distinct_and_total_are_exact_below_the_limit(texts: list[str], n: int) -> None:
    found = counted(texts, n)
    assert (found.distinct, found.total) == (len(set(reference(texts, n))), len(reference(texts, n)))


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 4))
def test_the_share_held_is_that_of_the_sets(texts: list[str], others: list[str], n: int) -> None:
    own, held = set(reference(texts, n)), set(reference(others, n))
    assert shares_held([counted(texts, n)], stream_ngrams([others], n)) == [len(own & held) / len(own) if own else 0.0]


def test_above_the_limit_a_sample_stands_for_the_whole_and_ignores_the_order() -> None:
    texts = [" ".join(f"w{i}" for i in range(start, start + 1_000)) for start in range(0, 40_000, 1_000)]
    forward, backward = counted(texts, 1, limit=4_000), counted(texts[::-1], 1, limit=4_000)
    assert forward.distinct == backward.distinct
    assert abs(forward.distinct - 40_000) < 0.1 * 40_000
    [held] = shares_held([forward], stream_ngrams([texts[:10]], 1))
    assert abs(held - 0.25) < 0.03
    assert forward.total == 40_000


def test_hashes_are_the_same_on_every_machine() -> None:
    values = ngrams(*NgramHasher().words(["the cat sat"]), 2)
    assert values.tolist() == [16553816895296956961, 82842311513710880]


def test_words_are_compared_in_nfkc() -> None:
    assert shares_held([counted(["\ufb01sh and chips"], 1)], stream_ngrams([["fish and\u00a0chips"]], 1)) == [1.0]
