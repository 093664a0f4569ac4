"""Pseudo-values: their mean is the score, and they are what leaving units out one by one says. Recomputed naively."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ablab.analysis.crossed import mean_squares
from ablab.analysis.units import units_of
from ablab.evaluate.jackknife import pseudo_values
from ablab.evaluate.metrics import R2_INCREMENT, SPEARMAN, score_of
from experiments.benchmarks.coverage_scores import reading_docs, score_coverage, wug_docs

Rows = Sequence[Mapping[str, Any]]
LogProbs = Sequence[Sequence[float]]


def naive_spearman(docs: Rows, log_probs: LogProbs) -> float:
    """Pearson's correlation of mid-ranks, counted one by one."""
    shares = [1.0 / (1.0 + sum(np.exp(other - first) for other in rest)) for first, *rest in log_probs]
    columns = [shares, [doc["ratio"] for doc in docs]]
    ranks = [[sum(b < a for b in of) + sum(b == a for b in of) / 2 for a in of] for of in columns]
    if any(len(set(of)) == 1 for of in ranks):
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def naive_increment(docs: Rows, log_probs: LogProbs) -> float:
    """Through projections of the reading times on an orthonormal basis of each design."""
    columns = [[doc["predictors"][name] for doc in docs] for name in docs[0]["predictors"]]
    if "previous" in docs[0]:
        columns.append([-found[1] for found in log_probs])
    base = [np.ones(len(docs)), *map(np.asarray, columns)]
    base += [base[i] * base[j] for i in range(1, len(base)) for j in range(i + 1, len(base))]
    shares = []
    for name in docs[0]["times"]:
        times = np.array([doc["times"][name] for doc in docs])
        left = []
        for design in (base, [*base, np.array([-found[0] for found in log_probs])]):
            basis, _ = np.linalg.qr(np.stack(design, axis=1))
            left.append(float(times @ times - np.sum((basis.T @ times) ** 2)))
        shares.append(1.0 - left[1] / left[0])
    return sum(shares) / len(shares)


NAIVE: Mapping[str, Callable[[Rows, LogProbs], float]] = {SPEARMAN: naive_spearman, R2_INCREMENT: naive_increment}


def wug(seed: int, count: int, distinct: int) -> tuple[Rows, LogProbs]:
    """Nonce words, of which some have equal ratios and equal probabilities."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, distinct, count) / 7.0
    return wug_docs(rng.integers(0, distinct, count) / distinct), [(float(score), 0.0) for score in scores]


def reading(seed: int, sentences: int, previous: bool) -> tuple[Rows, LogProbs]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, sentences)
    docs = reading_docs(rng, sizes)
    if previous:
        docs = [doc | {"previous": {}} for doc in docs]
    return docs, [tuple(map(float, -rng.gamma(2.0, 2.0, 2 if previous else 1))) for _ in docs]


CASES = {
    "nonce words": (SPEARMAN, wug(1, 40, 1_000)),
    "many ties": (SPEARMAN, wug(2, 270, 4)),
    "three words": (SPEARMAN, wug(3, 3, 9)),
    "eye tracking": (R2_INCREMENT, reading(4, 12, False)),
    "self-paced": (R2_INCREMENT, reading(5, 15, True)),
}


@pytest.mark.parametrize("case", CASES)
def test_their_mean_is_the_score_and_each_follows_from_the_score_without_its_unit(case: str) -> None:
    metric, (docs, log_probs) = CASES[case]
    found = pseudo_values(metric, docs, log_probs)
    assert found is not None
    score = score_of(metric, docs, log_probs)
    assert np.mean(found) == pytest.approx(score, abs=1e-12)
    assert score == pytest.approx(NAIVE[metric](docs, log_probs), abs=1e-9)
    units = [doc.get("cluster", doc["id"]) for doc in docs]
    names = list(dict.fromkeys(units))
    without = []
    for name in names:
        kept = [i for i, unit in enumerate(units) if unit != name]
        without.append(NAIVE[metric]([docs[i] for i in kept], [log_probs[i] for i in kept]))
    mean, count = sum(without) / len(without), len(names)
    wanted = [
        score + len(units) / units.count(unit) * (count - 1) / count * (mean - without[names.index(unit)])
        for unit in units
    ]
    assert found == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_the_analysis_makes_the_jackknifes_variance_of_them(case: str) -> None:
    metric, (docs, log_probs) = CASES[case]
    found = np.array(pseudo_values(metric, docs, log_probs))
    names = [doc.get("cluster", doc["id"]) for doc in docs]
    units = units_of(np.array([names.index(name) for name in names]), np.array([0]))
    squares = mean_squares(found[None], np.array([0]), np.array([1.0]), units=units)
    count = units.count
    sums = np.array(
        [sum(v - found.mean() for v, n in zip(found, names, strict=True) if n == name) for name in set(names)]
    )
    assert float(squares.items) == pytest.approx(count / (count - 1) * np.sum((sums / len(docs)) ** 2))
    assert np.sum(sums) == pytest.approx(0.0, abs=1e-6)


def test_words_that_a_model_ranks_alike_add_nothing() -> None:
    docs, _ = wug(1, 12, 50)
    assert pseudo_values(SPEARMAN, docs, [(1.0, 0.0)] * 12) == [0.0] * 12


def test_of_two_words_one_is_left_which_has_no_rank_correlation() -> None:
    assert pseudo_values(SPEARMAN, wug_docs([0.1, 0.9]), [(0.0, 0.0), (1.0, 0.0)]) is None


@pytest.mark.parametrize("alone", [0, 5])
def test_a_sentence_that_alone_has_a_predictor_is_left_out_as_if_that_were_not_there(alone: int) -> None:
    """All of it is fitted exactly or in part: its rows have full leverage in some direction."""
    docs, log_probs = reading(8, 14, False)
    own = {"cluster": f"sentence {alone}"}
    docs = [
        {**doc, "predictors": {**doc["predictors"], "own": float(own.items() <= doc.items()) * (1 + i % 3)}}
        for i, doc in enumerate(docs)
    ]
    found = pseudo_values(R2_INCREMENT, docs, log_probs)
    assert found is not None
    names = [doc["cluster"] for doc in docs]
    kept = {name: [i for i, other in enumerate(names) if other != name] for name in dict.fromkeys(names)}
    without = {
        name: score_of(R2_INCREMENT, [docs[i] for i in rest], [log_probs[i] for i in rest])
        for name, rest in kept.items()
    }
    mean, share = sum(without.values()) / len(without), (len(without) - 1) / len(without)
    score = score_of(R2_INCREMENT, docs, log_probs)
    wanted = [score + len(names) / names.count(name) * share * (mean - without[name]) for name in names]
    assert found == pytest.approx(wanted, abs=1e-8)


def test_too_few_sentences_to_leave_one_out_have_no_values() -> None:
    docs, log_probs = reading(6, 1, False)
    docs, log_probs = [*docs, *docs, *docs], [*log_probs, *log_probs, *log_probs]
    assert pseudo_values(R2_INCREMENT, [doc | {"cluster": "one"} for doc in docs], log_probs) is None
    two = reading(7, 2, False)
    assert pseudo_values(R2_INCREMENT, *two) is None, "one sentence alone is fitted exactly"


@pytest.mark.parametrize("suite", ["wug", "reading"])
@pytest.mark.parametrize("replicates", [2, 5])
def test_intervals_of_a_difference_cover_it_for_new_items_and_new_replicates(suite: str, replicates: int) -> None:
    found = score_coverage(suite, "mixed", replicates, studies=160 if suite == "reading" else 400, seed=3)
    assert 91.0 <= found["coverage"] <= 99.0
    if replicates == 5:  # with two the quantile of one degree of freedom hides it
        assert found["these items"] < found["coverage"] - 5.0, "items that react make a difference"
