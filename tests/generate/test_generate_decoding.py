"""Laws of the decoding, against the exact distribution written down from its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from torch import Tensor

from ablab.generate.decoding import contrast, draw, invert, keep_top_k, keep_top_p, plausible_head
from ablab.generate.draws import uniforms
from ablab.spec.synthetic import Decoding

Floats = npt.NDArray[np.float64]


def decoding(**changes: Any) -> Decoding:
    plain: dict[str, Any] = {"strength": 1.0, "alpha": 0.1, "temperature": 1.0, "bad_temperature": 1.0}
    plain |= {"top_k": None, "top_p": None, "stop_at_eos": False, "keep_prompt": True}
    return Decoding(**(plain | changes))


def logits(seed: int, rows: int, vocab: int, spread: float = 2.0) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * spread


def head_of(good: Tensor, alpha: float) -> Tensor:
    return plausible_head(good, alpha, good.amax(dim=-1, keepdim=True))


def exact(good: Tensor, bad: Tensor, how: Decoding) -> Floats:
    """The distribution of one row, step by step as the recipe defines it, in float64."""
    log_good = special.log_softmax(good.double().numpy())
    log_bad = special.log_softmax(bad.double().numpy() / how.bad_temperature)
    score = (log_good - how.strength * log_bad) / how.temperature
    if how.alpha > 0:
        score[log_good < np.log(how.alpha) + log_good.max()] = -np.inf
    best_first = np.argsort(-score, kind="stable")
    if how.top_k is not None:
        score[best_first[how.top_k :]] = -np.inf
    if how.top_p is not None:
        mass = np.cumsum(special.softmax(score)[best_first])
        score[best_first[np.searchsorted(mass, how.top_p) + 1 :]] = -np.inf
    return np.asarray(special.softmax(score), dtype=np.float64)


FORMS = {
    "ancestral": decoding(strength=0.0, alpha=0.0),
    "masked": decoding(strength=0.0),
    "contrastive": decoding(),
    "contrast without mask": decoding(alpha=0.0, strength=0.5),
    "temperatures": decoding(strength=1.5, alpha=0.02, temperature=0.7, bad_temperature=2.0),
    "top_k": decoding(alpha=0.01, top_k=3),
    "top_p": decoding(alpha=0.01, top_p=0.8),
    "top_k then top_p": decoding(strength=0.0, alpha=0.0, top_k=4, top_p=0.9),
}


@pytest.mark.parametrize("vocab", [4, 7, 16])
@pytest.mark.parametrize("form", FORMS)
def test_frequencies_over_many_draws_follow_the_exact_distribution(form: str, vocab: int) -> None:
    how, count = FORMS[form], 40_000
    good, bad = logits(1, 1, vocab), logits(2, 1, vocab)
    expected = exact(good[0], bad[0], how)
    words = draw(
        good.expand(count, -1), bad.expand(count, -1), how, torch.from_numpy(uniforms(5, np.arange(count), vocab))
    ).words_B
    counts = np.bincount(words.numpy(), minlength=vocab)
    assert counts[expected == 0].sum() == 0
    possible = expected > 0
    if possible.sum() > 1:
        assert stats.chisquare(counts[possible], count * expected[possible]).pvalue > 1e-3


@settings(deadline=None, max_examples=50)  # torch's first calls are slow
@given(st.integers(0, 10**6), st.floats(0.0, 1.0), st.floats(0.0, 1.0, exclude_max=True))
def test_masked_only_equals_contrastive_at_strength_zero_and_never_touches_bad(
    seed: int, alpha: float, uniform: float
) -> None:
    how, good = decoding(strength=0.0, alpha=alpha), logits(seed, 4, 9)
    draws = torch.full((4,), uniform, dtype=torch.float64)
    poisoned = torch.full_like(good, torch.nan)
    masked, contrastive = draw(good, None, how, draws), draw(good, poisoned, how, draws)
    assert torch.equal(masked.words_B, contrastive.words_B)
    head = head_of(good, alpha)
    assert torch.equal(contrast(good, poisoned, head, how), torch.where(head, good, -torch.inf))


def test_ancestral_equals_both_masks_off() -> None:
    good, draws = logits(3, 512, 16), torch.from_numpy(uniforms(1, np.arange(512), 0))
    drawn = draw(good, None, decoding(strength=0.0, alpha=0.0), draws)
    cdf = good.double().softmax(dim=-1).cumsum(dim=-1)
    assert torch.equal(drawn.words_B, (cdf <= draws[:, None]).sum(dim=-1))
    assert (drawn.head_sizes_B == 16).all()
    assert drawn.changed_B is None


@settings(deadline=None, max_examples=50)  # torch's first calls are slow
@given(st.integers(0, 10**6), st.floats(0.001, 1.0))
def test_bad_equal_to_good_at_strength_one_is_uniform_over_the_head(seed: int, alpha: float) -> None:
    good, how = logits(seed, 1, 12), decoding(alpha=alpha)
    size = int(head_of(good, alpha).sum())
    middles = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    drawn = draw(good.expand(size, -1), good.expand(size, -1), how, middles)
    assert sorted(drawn.words_B.tolist()) == head_of(good, alpha)[0].nonzero()[:, 0].tolist()
    assert drawn.changed_B is not None
    assert not drawn.changed_B.any()


@settings(deadline=None, max_examples=50)  # torch's first calls are slow
@given(st.floats(0.1, 5.0))
def test_the_other_published_form_is_a_strength_below_one_at_another_temperature(beta: float) -> None:
    """(1 + b) log p_G - b log p_B (O'Brien & Lewis 2023)."""
    good, bad = logits(8, 1, 10), logits(9, 1, 10)
    how = decoding(strength=beta / (1 + beta), temperature=1 / (1 + beta), alpha=0.0)
    ours = contrast(good, bad, head_of(good, 0.0), how).double().softmax(dim=-1)
    theirs = (1 + beta) * good.double().log_softmax(dim=-1) - beta * bad.double().log_softmax(dim=-1)
    torch.testing.assert_close(ours, theirs.softmax(dim=-1), rtol=1e-4, atol=1e-6)


def test_alpha_one_keeps_exactly_the_most_probable_words() -> None:
    good = torch.tensor([[1.0, 3.0, 3.0, 2.0]])
    assert head_of(good, 1.0).tolist() == [[False, True, True, False]]


def test_a_word_without_a_good_logit_is_never_drawn() -> None:
    good = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    for alpha in (0.0, 0.1):
        for uniform in (0.0, 0.5, 1 - 2.0**-53):
            drawn = draw(good, torch.zeros(1, 4), decoding(alpha=alpha), torch.tensor([uniform], dtype=torch.float64))
            assert drawn.words_B.item() in (1, 2)
            assert drawn.head_sizes_B.item() == 2


@settings(deadline=None, max_examples=50)  # torch's first calls are slow
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(1, 12))
def test_top_k_keeps_exactly_k_and_among_equals_the_lower_ids(values: list[int], k: int) -> None:
    k = min(k, len(values))
    kept = keep_top_k(torch.tensor([values], dtype=torch.float32), k)[0]
    best_first = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert kept.isfinite().nonzero()[:, 0].tolist() == sorted(best_first[:k])


@settings(deadline=None, max_examples=50)  # torch's first calls are slow
@given(st.integers(0, 10**6), st.floats(0.05, 0.99))
def test_top_p_keeps_the_smallest_set_with_the_mass(seed: int, p: float) -> None:
    scores = logits(seed, 1, 10)
    mass = scores.double().softmax(dim=-1)[0]
    kept = keep_top_p(scores, p)[0].isfinite()
    assert torch.equal(keep_top_p(scores, p)[0, kept], scores[0, kept])
    assert mass[kept].sum() >= p - 1e-12
    assert mass[kept].sum() - mass[kept].min() < p
    assert kept.all() or mass[kept].min() >= mass[~kept].max()


def test_contrast_that_gives_another_best_word_is_counted() -> None:
    good = torch.tensor([[2.0, 1.5, 0.0], [2.0, 1.5, 0.0], [2.0, -9.0, 0.0]])
    bad = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, -99.0, -1.0]])
    drawn = draw(good, bad, decoding(), torch.zeros(3, dtype=torch.float64))
    assert drawn.changed_B is not None
    # in the third row the word that BAD dislikes most lies outside the head, but the next one does not
    assert drawn.changed_B.tolist() == [True, False, True]
    assert drawn.head_sizes_B.tolist() == [3, 3, 2]


@settings(deadline=None, max_examples=50)  # torch's first calls are slow
@given(st.integers(1, 20), st.integers(0, 10**6))
def test_inverse_cdf_reaches_the_first_and_the_last_possible_word(vocab: int, seed: int) -> None:
    scores = logits(seed, 1, vocab)
    scores[:, 1::2] = -torch.inf
    assert invert(scores, torch.tensor([0.0], dtype=torch.float64)).item() == 0
    last = invert(scores, torch.tensor([1 - 2.0**-53], dtype=torch.float64)).item()
    assert last == (vocab - 1) // 2 * 2
