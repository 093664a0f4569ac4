"""From the logits of GOOD and BAD to the next word.

The form (`ablab.spec.recipe.Decoding`; the study's, after Li et al. 2023, eq. 2-4):

    head   x with log p_G(x) >= log alpha + max log p_G, at temperature 1 (alpha 0: every word); -inf outside
    score  (log p_G(x) - strength * log p_B(x)) / temperature,  p_B = softmax(bad_logits / bad_temperature)
    then   top_k, then top_p, on the scores; then softmax, sampled by inverse CDF with one uniform per position

It differs from the study's code in two points: -inf outside the head (theirs: a logit of -20) and >= (theirs: >).
Both log-normalisers are one constant per row, which neither the head nor the softmax of the score can see, so they
are never computed: differences of logits take their place and give the same distribution.
"""

# B sequences, V vocabulary, W candidates: the words of the largest head (V without a mask), ids ascending

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ablab.spec.synthetic import Decoding


@dataclass(frozen=True)
class Draw:
    """One sampled word for every sequence, and what the manifest counts."""

    words_B: Tensor
    """int64 ids."""
    head_sizes_B: Tensor
    """int64: words in the plausible head."""
    changed_B: Tensor | None
    """bool: the contrast gave another word than GOOD's most probable one the best score; None without contrast."""
    good_finite_B: Tensor
    """bool: no logit of GOOD is NaN or +inf."""
    bad_finite_B: Tensor | None
    """bool: no logit of BAD is NaN or infinite at a candidate; None without contrast."""
    kl_B: Tensor | None
    """float64: nats from GOOD's distribution to the one that the word was drawn from; None unless asked for."""


def draw(
    good_BV: Tensor, bad_BV: Tensor | None, decoding: Decoding, uniforms_B: Tensor, measure_kl: bool = False
) -> Draw:
    """One word per row. Logits float32, uniforms float64 in [0, 1). A word with a GOOD logit of -inf is never drawn.

    `bad_BV` is read only when `decoding.strength` > 0 and must then be given. With a mask everything but the mask
    itself is computed for the words of the heads alone, a hundredth of the vocabulary.
    """
    if decoding.strength > 0.0 and bad_BV is None:
        raise ValueError(f"strength={decoding.strength} needs BAD's logits")
    best_B1 = good_BV.amax(dim=-1, keepdim=True)
    head_BV = plausible_head(good_BV, decoding.alpha, best_B1)
    found = Candidates.of(head_BV) if decoding.alpha > 0.0 else None
    good_BW, bad_BW, inside_BW = good_BV, bad_BV, head_BV
    if found is not None:
        inside_BW = found.inside_BW
        good_BW = found.gather(good_BV)
        bad_BW = None if bad_BV is None or decoding.strength == 0.0 else found.gather(bad_BV)
    scores_BW = contrast(good_BW, bad_BW, inside_BW, decoding)
    changed_B = bad_finite_B = None
    if decoding.strength > 0.0 and bad_BW is not None:
        changed_B = _best_changed(good_BW.where(inside_BW, -math.inf), scores_BW)
        bad_finite_B = bad_BW.where(inside_BW, 0.0).isfinite().all(dim=-1)
    kept_BW = truncate(scores_BW, decoding.top_k, decoding.top_p)
    chosen_B = invert(kept_BW, uniforms_B)
    return Draw(
        words_B=chosen_B if found is None else found.ids_BW.gather(1, chosen_B[:, None])[:, 0],
        head_sizes_B=inside_BW.sum(dim=-1),
        changed_B=changed_B,
        good_finite_B=best_B1[:, 0].isfinite(),
        bad_finite_B=bad_finite_B,
        kl_B=_kl(kept_BW, good_BW, good_BV) if measure_kl else None,
    )


@dataclass(frozen=True)
class Candidates:
    """The words of every row's head, side by side; rows with fewer are filled up with word 0, which is not inside."""

    ids_BW: Tensor
    inside_BW: Tensor

    @classmethod
    def of(cls, head_BV: Tensor) -> Candidates:
        rows_M, ids_M = head_BV.nonzero(as_tuple=True)
        bounds = torch.searchsorted(rows_M, torch.arange(len(head_BV) + 1, device=rows_M.device))
        sizes_B = bounds.diff()  # cheaper than a sum over the vocabulary
        columns_M = torch.arange(len(rows_M), device=rows_M.device) - bounds[rows_M]
        width = max(1, int(sizes_B.max()))  # no head is empty, but that of a row of NaN, which is reported later
        ids_BW = torch.zeros((len(head_BV), width), dtype=torch.int64, device=head_BV.device)
        ids_BW[rows_M, columns_M] = ids_M
        return cls(ids_BW, torch.arange(width, device=head_BV.device) < sizes_B[:, None])

    def gather(self, logits_BV: Tensor) -> Tensor:
        return logits_BV.gather(1, self.ids_BW)


def plausible_head(good_BV: Tensor, alpha: float, best_B1: Tensor) -> Tensor:
    """bool [B, V]: log p_G >= log alpha + max log p_G. Never empty, and never holds a word with a logit of -inf."""
    if alpha == 0.0:
        return good_BV > -math.inf
    return good_BV >= best_B1 + math.log(alpha)


def contrast(good_BV: Tensor, bad_BV: Tensor | None, head_BV: Tensor, decoding: Decoding) -> Tensor:
    """The score [B, V], up to one constant per row; -inf outside the head. At strength 0 BAD is not touched."""
    scores_BV = good_BV
    if decoding.strength > 0.0 and bad_BV is not None:
        scores_BV = good_BV - bad_BV * (decoding.strength / decoding.bad_temperature)
    if decoding.temperature != 1.0:
        scores_BV = scores_BV / decoding.temperature
    return torch.where(head_BV, scores_BV, -math.inf)


def truncate(scores_BV: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """The scores with everything that top_k and then top_p leave out at -inf."""
    if top_k is not None and top_k < scores_BV.shape[-1]:
        scores_BV = keep_top_k(scores_BV, top_k)
    if top_p is not None and top_p < 1.0:
        scores_BV = keep_top_p(scores_BV, top_p)
    return scores_BV


def keep_top_k(scores_BV: Tensor, k: int) -> Tensor:
    """Exactly the k best scores of every row; among equal scores the lower ids are kept."""
    worst_kept_B1 = scores_BV.topk(k, dim=-1).values[:, -1:]
    above_BV = scores_BV > worst_kept_B1
    level_BV = scores_BV == worst_kept_B1
    room_B1 = k - above_BV.sum(dim=-1, keepdim=True)
    return torch.where(above_BV | (level_BV & (level_BV.cumsum(dim=-1) <= room_B1)), scores_BV, -math.inf)


def keep_top_p(scores_BV: Tensor, p: float) -> Tensor:
    """The smallest set of best words with a mass of at least p; among equal scores the lower ids come first."""
    sorted_BV, ids_BV = torch.sort(scores_BV, dim=-1, descending=True, stable=True)
    mass_BV = sorted_BV.double().softmax(dim=-1)
    before_BV = mass_BV.cumsum(dim=-1) - mass_BV
    sorted_BV = torch.where(before_BV < p, sorted_BV, -math.inf)
    return torch.empty_like(scores_BV).scatter_(-1, ids_BV, sorted_BV)


def invert(scores_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """int64 [B]: the first id at which the CDF of softmax(scores) exceeds the uniform; never one of probability 0."""
    cdf_BV = scores_BV.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    total_B1 = cdf_BV[:, -1:]
    # float32 masses do not sum to exactly 1, and u x total may round up to total, behind which no id lies
    below_total_B1 = torch.nextafter(total_B1, torch.zeros_like(total_B1))
    targets_B1 = torch.minimum(uniforms_B[:, None] * total_B1, below_total_B1)
    ids_B1 = torch.searchsorted(cdf_BV, targets_B1, right=True)
    return ids_B1[:, 0].clamp_(max=scores_BV.shape[-1] - 1)  # a row of NaN points behind the end; reported later


def _best_changed(good_BW: Tensor, scores_BW: Tensor) -> Tensor:
    favourite_B1 = good_BW.max(dim=-1, keepdim=True).indices
    return scores_BW.gather(-1, favourite_B1)[:, 0] < scores_BW.amax(dim=-1)


def _kl(kept_BW: Tensor, good_BW: Tensor, good_BV: Tensor) -> Tensor:
    """float64 [B]: sum over the words that can be drawn of q (log q - log p_G)."""
    log_q_BW = kept_BW.double().log_softmax(dim=-1)
    log_good_BW = good_BW.double() - good_BV.logsumexp(dim=-1, keepdim=True).double()
    terms_BW = log_q_BW.exp() * (log_q_BW - log_good_BW)
    return terms_BW.where(kept_BW > -math.inf, 0.0).sum(dim=-1)
