"""What every item adds to a score that is no mean over items, by leaving units out one by one (the jackknife).

A unit u is a nonce word, or a sentence with all of its words. Of U units and N items, n_u of them in unit u, with the
score t of all and t_u without unit u, an item of unit u gets

    t + (N / n_u) (1 - 1/U) (mean of t_u - t_u)

so the mean over items is exactly t, and the spread of the units' sums is the jackknife's variance of t: (U - 1)/U times
the sum of squared deviations of t_u (Efron & Stein 1981). Tukey's pseudo-values, but for their mean, which would be t
less an estimate of its bias: what is reported stays the score.
"""

# N items, U units, B units of one block, M times, P columns of a design, K of an orthonormal basis of it

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ablab.evaluate.metrics import SPEARMAN, Floats, nonce_words, read_words, reading_designs, scaled, score_of

BLOCK = 256  # words that are left out at once, so that memory grows with their number alone
NOTHING = 1e-12  # of a sum of squares: what a fit leaves that explains everything

Ints = NDArray[np.int64]


def pseudo_values(
    metric: str, docs: Sequence[Mapping[str, Any]], log_probs: Sequence[Sequence[float]]
) -> list[float] | None:
    """Of every item, shares as the score is. None where units are so few that the rest without one has no score."""
    if metric == SPEARMAN:
        units_N = np.arange(len(docs))
        without_U = spearman_without(*np.array(nonce_words(docs, log_probs), dtype=np.float64).T)
    else:
        numbers: dict[str, int] = {}
        units_N = np.array([numbers.setdefault(doc.get("cluster", doc["id"]), len(numbers)) for doc in docs])
        without_U = r2_increment_without(*reading_designs(read_words(docs, log_probs)), units_N)
    sizes_U = np.bincount(units_N)
    if len(sizes_U) < 2 or not np.isfinite(without_U).all():
        return None
    change_U = (1.0 - 1.0 / len(sizes_U)) * (without_U.mean() - without_U)
    found: list[float] = (score_of(metric, docs, log_probs) + (len(docs) / sizes_U * change_U)[units_N]).tolist()
    return found


def spearman_without(found_N: Floats, human_N: Floats) -> Floats:
    """Rank correlation of all words but one, for every word; 0 where one of both then does not vary, not a number where
    one word is all that is left."""
    without_N = np.zeros(len(found_N))
    if len(found_N) <= 2:
        return np.full_like(without_N, np.nan)
    for start in range(0, len(found_N), BLOCK):
        left_B = np.arange(start, min(start + BLOCK, len(found_N)))
        one_BN, other_BN = _ranks_without(found_N, left_B), _ranks_without(human_N, left_B)
        scale_B = np.sqrt((one_BN**2).sum(axis=1) * (other_BN**2).sum(axis=1))
        np.divide((one_BN * other_BN).sum(axis=1), scale_B, out=without_N[start : start + BLOCK], where=scale_B > 0.0)
    return without_N


def _ranks_without(values_N: Floats, left_B: Ints) -> Floats:
    """Ranks of all others when one is left out, less their mean; 0 for the one itself. Equal values share a rank."""
    left_B1 = values_N[left_B, None]
    ranks_BN: Floats = rankdata(values_N) - (left_B1 < values_N) - 0.5 * (left_B1 == values_N) - len(values_N) / 2
    ranks_BN[np.arange(len(left_B)), left_B] = 0.0
    return ranks_BN


def r2_increment_without(base_NP: Floats, full_NP: Floats, times_NM: Floats, units_N: Ints) -> Floats:
    """The score of all units but one, for every unit; not a number where the controls alone then explain everything."""
    base_UM, full_UM = (_unexplained_without(design_NP, times_NM, units_N) for design_NP in (base_NP, full_NP))
    known_UM = base_UM > NOTHING * (times_NM**2).sum(axis=0)
    shares_UM = np.divide(base_UM - full_UM, base_UM, out=np.full_like(base_UM, np.nan), where=known_UM)
    without_U: Floats = shares_UM.mean(axis=1)
    return without_U


def _unexplained_without(design_NP: Floats, times_NM: Floats, units_N: Ints) -> Floats:
    """Sums of squared residuals [U, M] of the fits without one unit, from the fit of all.

    With residuals e and the projection H on the design, leaving out the rows g takes e_g' (1 - H_gg)^-1 e_g away. Where
    1 - H_gg has no inverse, e_g lies in its range, and least squares solve it all the same.
    """
    left, sizes_P, _ = np.linalg.svd(scaled(design_NP), full_matrices=False)
    basis_NK = left[:, sizes_P > np.finfo(np.float64).eps * max(design_NP.shape) * sizes_P[0]]
    residuals_NM = times_NM - basis_NK @ (basis_NK.T @ times_NM)
    squares_M = (residuals_NM**2).sum(axis=0)
    without = []
    for unit in range(int(units_N.max()) + 1):
        rows = units_N == unit
        own_GM, basis_GK = residuals_NM[rows], basis_NK[rows]
        solved_GM = np.linalg.lstsq(np.eye(len(own_GM)) - basis_GK @ basis_GK.T, own_GM, rcond=None)[0]
        without.append(squares_M - (own_GM * solved_GM).sum(axis=0))
    return np.array(without)
