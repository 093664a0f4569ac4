"""Laws of the n-gram model."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablab.corpora.requests import Query
from ablab.evaluate.ngram import FALLBACK_DISCOUNTS, NGram, discounts, history_lengths, train_ngram

V, BOS, EOS = 12, 1, 2


def stream_of(seed: int, documents: int, vocab_size: int = V) -> np.ndarray:
    """Documents of a random Markov chain, `<s> ... </s>` each."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(vocab_size - 4, 0.3), size=vocab_size)
    tokens: list[int] = []
    for _ in range(documents):
        tokens.append(BOS)
        for _ in range(int(rng.integers(1, 15))):
            tokens.append(4 + int(rng.choice(vocab_size - 4, p=table[tokens[-1]])))
        tokens.append(EOS)
    return np.array(tokens, dtype=np.int64)


def probability(model: NGram, history: tuple[int, ...], token: int) -> float:
    return math.exp(model.completions([Query((*history, token), len(history))])[0])


class Reference:
    """The same model from its definition, with dictionaries and recursion."""

    def __init__(self, tokens: list[int], order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        raw: Counter[tuple[int, ...]] = Counter()
        for end in range(1, len(tokens)):
            for length in range(1, order + 1):
                gram = tuple(tokens[end - length + 1 : end + 1])
                if end - length + 1 < 0 or BOS in gram[1:-1]:
                    break
                raw[gram] += 1
        fronts: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        for gram in raw:
            fronts[gram[1:]].add(gram[0])
        self.adjusted = {g: len(fronts[g]) if len(g) < order and fronts[g] else c for g, c in raw.items()}
        self.discounts = {
            n: discounts(np.array([c for g, c in self.adjusted.items() if len(g) == n])) for n in range(1, order + 1)
        }

    def p(self, history: tuple[int, ...], token: int) -> float:
        history = history[len(history) - min(len(history), self.order - 1) :]
        lower = self.p(history[1:], token) if history else 1 / self.vocab_size
        found = {g[-1]: c for g, c in self.adjusted.items() if g[:-1] == history}
        if not found:
            return lower
        d = self.discounts[len(history) + 1]
        total = sum(found.values())
        left = sum(d[min(c, 3) - 1] for c in found.values())
        here = found.get(token, 0)
        return (here - d[min(here, 3) - 1] if here else 0.0) / total + left / total * lower


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 50),
    order=st.integers(1, 5),
    history=st.lists(st.integers(0, V - 1), max_size=6).map(lambda h: (BOS, *h)),
)
def test_probabilities_sum_to_one_over_the_vocabulary_for_every_history(
    seed: int, order: int, history: tuple[int, ...]
) -> None:
    model = train_ngram(stream_of(seed, 20), order, V, BOS)
    scores = model.completions([Query((*history, token), len(history)) for token in range(V)])
    assert math.fsum(map(math.exp, scores)) == pytest.approx(1.0, abs=1e-12)
    assert all(math.isfinite(score) for score in scores)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_arrays_agree_with_the_definition_in_dictionaries(order: int) -> None:
    tokens = stream_of(3, 40)
    model, reference = train_ngram(tokens, order, V, BOS), Reference(tokens.tolist(), order, V)
    rng = np.random.default_rng(0)
    for _ in range(200):
        start = int(rng.integers(0, len(tokens) - 6))
        history = tuple(int(t) for t in tokens[start : start + int(rng.integers(1, 6))])
        marks = [i for i, t in enumerate(history) if t == BOS]
        history = history[marks[-1] if marks else 0 :]
        token = int(rng.integers(0, V))
        assert probability(model, history, token) == pytest.approx(reference.p(history, token), rel=1e-9)


def test_a_stream_is_scored_as_its_parts() -> None:
    model = train_ngram(stream_of(4, 60), 5, V, BOS)
    tokens = stream_of(5, 6)
    starts = [*np.flatnonzero(tokens == BOS).tolist(), len(tokens)]
    parts: list[float] = []
    for begin, end in pairwise(starts):
        stop = min(end + 1, len(tokens))  # the next document's mark is predicted from this one
        document = tuple(int(t) for t in tokens[begin:stop])
        parts += [math.log(probability(model, document[:i], document[i])) for i in range(1, len(document))]
    assert model.stream(tokens).tolist() == pytest.approx(parts, rel=1e-12)


def test_no_history_reaches_back_beyond_the_start_mark() -> None:
    tokens = np.array([1, 7, 8, 2, 1, 9, 2, 7, 1], dtype=np.int64)
    assert history_lengths(tokens, np.array([0, 7]), BOS).tolist() == [0, 1, 2, 3, 4, 1, 2, 0, 1]


def test_texts_with_the_same_factors_tie_exactly() -> None:
    model = train_ngram(stream_of(6, 30), 1, V, BOS)
    one, other = model.completions([Query((BOS, 5, 6, 7, 8, 9), 1), Query((BOS, 9, 7, 8, 5, 6), 1)])
    assert one == other


def test_a_longer_order_predicts_a_markov_chain_better() -> None:
    train, test = stream_of(7, 400), stream_of(7, 500)[-2000:]
    unigram, bigram = (train_ngram(train, order, V, BOS).stream(test).mean() for order in (1, 2))
    assert bigram > unigram + 0.2


def test_discounts_that_cannot_be_estimated_fall_back() -> None:
    assert discounts(np.array([5, 6, 7])) == FALLBACK_DISCOUNTS
    counts = np.repeat([1, 2, 3, 4], [40, 20, 10, 6])
    assert discounts(counts) == pytest.approx((0.5, 2 - 3 * 0.5 * 10 / 20, 3 - 4 * 0.5 * 6 / 10))
