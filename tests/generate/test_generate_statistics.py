"""What is counted of a corpus, against its definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from ablab.generate.decoding import draw
from ablab.generate.shards import Shard
from ablab.generate.statistics import Compression, Tally, repeated_ngrams
from ablab.spec.synthetic import Decoding


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(4, 6), min_size=9, max_size=9), min_size=1, max_size=4), st.integers(0, 9))
def test_repeated_4grams_are_those_that_occurred_before_in_their_sequence(rows: list[list[int]], length: int) -> None:
    words = np.array(rows)
    words[0, length:] = 3
    total = repeated = 0
    for row in words.tolist():
        grams = [tuple(row[i : i + 4]) for i in range(len(row) - 3) if 3 not in row[i : i + 4]]
        total += len(grams)
        repeated += len(grams) - len(set(grams))
    assert repeated_ngrams(words, pad=3) == (total, repeated)


def test_sequences_shorter_than_a_4gram_have_none() -> None:
    assert repeated_ngrams(np.full((2, 3), 9), pad=3) == (0, 0)


def test_a_text_that_repeats_itself_compresses_better() -> None:
    ratios = []
    for texts in ([f"{number * 7919 % 10007} " * 5 for number in range(300)], ["the cat sat on the mat"] * 300):
        compression = Compression()
        for text in texts:
            compression.add(text)
        ratios.append(compression.ratio())
    assert ratios[0] is not None
    assert ratios[1] is not None
    assert 1 < ratios[0] < ratios[1]
    assert Compression().ratio() is None


def how(**changes: Any) -> Decoding:
    plain: dict[str, Any] = {"strength": 1.0, "alpha": 0.1, "temperature": 1.0, "bad_temperature": 1.0}
    return Decoding(**(plain | {"top_k": None, "top_p": None, "stop_at_eos": False, "keep_prompt": True} | changes))


@pytest.mark.parametrize("form", [{}, {"strength": 0.0}, {"alpha": 0.0, "strength": 0.4}, {"alpha": 0.01, "top_k": 3}])
def test_kl_is_from_goods_distribution_to_the_one_drawn_from(form: dict[str, Any]) -> None:
    good, bad = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float32) * 2
    declared = how(**form)
    found = draw(good, bad, declared, torch.zeros(3, dtype=torch.float64), measure_kl=True).kl_B
    log_good, log_bad = (special.log_softmax(logits.double().numpy(), axis=-1) for logits in (good, bad))
    score = log_good - declared.strength * log_bad
    if declared.alpha:
        score[log_good < np.log(declared.alpha) + log_good.max(axis=-1, keepdims=True)] = -np.inf
    if declared.top_k:
        score[score < np.sort(score)[:, -declared.top_k, None]] = -np.inf
    q = special.softmax(score, axis=-1)
    expected = np.where(q > 0, q * (np.log(np.maximum(q, 1e-300)) - log_good), 0).sum(axis=-1)
    assert found is not None
    assert expected.min() > 0
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_ancestral_sampling_has_no_kl() -> None:
    good = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    found = draw(good, None, how(strength=0.0, alpha=0.0), torch.zeros(4, dtype=torch.float64), measure_kl=True).kl_B
    assert found is not None
    assert found.abs().max() < 1e-6


def test_a_tally_adds_shards_by_step(tmp_path: Path) -> None:
    tally = Tally(3)
    tally.add(
        Shard(0, np.array([[5, 6, 3]]), [1, 1, 0], [4, 2, 0], [1, 0, 0], [0.5, 0, 0], [1, 0, 0], stopped=0), pad=3
    )
    tally.add(
        Shard(1, np.array([[2, 3, 3]]), [1, 0, 0], [2, 0, 0], [0, 0, 0], [0.25, 0, 0], [2, 0, 0], stopped=1), pad=3
    )
    assert tally.result(contrasted=True) == {
        "tokens": 3,
        "head_size_mean": 8 / 3,
        "argmax_changed": 1 / 3,
        "kl_good_nats": 0.25,
        "repeated_4grams": 0.0,
        "stopped": 1,
    }
    tally.write(tmp_path / "steps.json", contrasted=True)
    steps = json.loads((tmp_path / "steps.json").read_text())
    assert steps == {
        "sampled": [2, 1, 0],
        "head_size": [3.0, 2.0, None],  # no sequence got as far as the third step
        "argmax_changed": [0.5, 0.0, None],
        "kl_good_nats": [0.25, None, None],
    }
    tally.write(tmp_path / "steps.json", contrasted=False)
    assert json.loads((tmp_path / "steps.json").read_text())["argmax_changed"] is None
