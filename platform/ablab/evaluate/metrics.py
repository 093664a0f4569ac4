"""What a suite is scored by: accuracy, rank correlation with people, explained variance of reading times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

ACCURACY, SPEARMAN, R2_INCREMENT = "acc", "spearman", "r2-increment"
"""Names in lm-eval; the last two are those of a suite's result."""

Floats = NDArray[np.float64]


class ReadWord(NamedTuple):
    """A word with its surprisal in nats, that of the word before it (None where that does not count), and its row."""

    surprisal: float
    previous: float | None
    predictors: Mapping[str, float]
    times: Mapping[str, float]
    """Reading times in ms by measure."""


def first_share(log_probs: Sequence[float]) -> float:
    """Softmax over the options: the probability of option 0 among them."""
    highest = max(log_probs)
    shares = [math.exp(log_prob - highest) for log_prob in log_probs]
    return shares[0] / math.fsum(shares)


def spearman(pairs: Sequence[tuple[float, float]]) -> float:
    """Rank correlation (-1 to 1) of probabilities with the shares of people; 0 where one of them does not vary."""
    found, human = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    if np.all(found == found[0]) or np.all(human == human[0]):
        return 0.0
    return float(spearmanr(found, human).statistic)


def r2_increment(words: Sequence[ReadWord]) -> float:
    """What surprisal adds to the controls: (R2 with it - R2 without) / (1 - R2 without), mean over the times.

    Ordinary least squares. Controls are the predictors, the previous word's surprisal where it counts, and the
    products of every two of them (public BabyLM 2025 pipeline, after De Varda, Marelli & Amenta 2024).
    """
    base_NP, full_NP, times_NM = reading_designs(words)
    increments = []
    for times_N in times_NM.T:
        base, full = _unexplained(base_NP, times_N), _unexplained(full_NP, times_N)
        increments.append((base - full) / base)
    return math.fsum(increments) / len(increments)


def reading_designs(words: Sequence[ReadWord]) -> tuple[Floats, Floats, Floats]:
    """The controls, the controls and surprisal, and the reading times, a column for each."""
    columns = [np.array([word.predictors[name] for word in words]) for name in words[0].predictors]
    if words[0].previous is not None:
        columns.append(np.array([word.previous for word in words], dtype=np.float64))
    products = [one * other for one, other in combinations(columns, 2)]
    base_NP = np.stack([np.ones(len(words)), *columns, *products], axis=1)
    full_NP = np.column_stack([base_NP, [word.surprisal for word in words]])
    return base_NP, full_NP, np.array([[word.times[name] for name in words[0].times] for word in words])


def _unexplained(design_NP: Floats, target_N: Floats) -> float:
    """1 - R2 times the target's variance: the sum of squared residuals."""
    scaled_NP = scaled(design_NP)
    coefficients_P = np.linalg.lstsq(scaled_NP, target_N, rcond=None)[0]
    residuals_N = target_N - scaled_NP @ coefficients_P
    return float(residuals_N @ residuals_N)


def scaled(design_NP: Floats) -> Floats:
    """Columns of length 1; theirs differ by orders of magnitude."""
    length_P = np.linalg.norm(design_NP, axis=0)
    result: Floats = design_NP / np.where(length_P > 0.0, length_P, 1.0)
    return result


def score_of(metric: str, docs: Sequence[Mapping[str, Any]], log_probs: Sequence[Sequence[float]]) -> float:
    """The rank correlation or the increment of some rows of a suite."""
    if metric == SPEARMAN:
        return spearman(nonce_words(docs, log_probs))
    return r2_increment(read_words(docs, log_probs))


def nonce_words(docs: Sequence[Mapping[str, Any]], log_probs: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Of every row p(variant 0), and how many people chose it."""
    return [(first_share(found), doc["ratio"]) for doc, found in zip(docs, log_probs, strict=True)]


def read_words(docs: Sequence[Mapping[str, Any]], log_probs: Sequence[Sequence[float]]) -> list[ReadWord]:
    """Rows with the log-probability of their word, and behind it that of the word before where it counts."""
    return [read_word(doc, found) for doc, found in zip(docs, log_probs, strict=True)]


def read_word(doc: Mapping[str, Any], log_probs: Sequence[float]) -> ReadWord:
    """One row."""
    previous = -log_probs[1] if "previous" in doc else None
    return ReadWord(-log_probs[0], previous, doc["predictors"], doc["times"])


def process_nonce_word(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """For lm-eval: what `spearman` gets of one item."""
    return {SPEARMAN: (first_share([log_prob for log_prob, _ in results]), doc["ratio"])}


def process_read_word(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """For lm-eval: what `r2_increment` gets of one item."""
    return {R2_INCREMENT: read_word(doc, [log_prob for log_prob, _ in results])}
