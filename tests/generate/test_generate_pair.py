"""GOOD and BAD of one shape are stepped at once: the logits of transformers, and the bits that each has alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from ablab.generate.decoder import Decoder, SecondDecoder, pair_of
from ablab.generate.dropout import AttentionDropout
from ablab.generate.layout import Weights
from ablab.generate.sampler import Sampler
from ablab.generate.text import Vocabulary
from ablab.spec.synthetic import Decoding

ROWS, LENGTH, PROMPT = 5, 40, 6
POSITIONS = {"one": [7] * ROWS, "several": [3, 3, 9, 0, 5]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., None]) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pair")
    made = {name: root / name for name in ("good", "bad", "smaller")}
    for seed, (name, folder) in enumerate(made.items()):
        checkpoint(folder, seed=seed, layers=1 if name == "smaller" else 2)
    return made


def weights_of(folders: dict[str, Path], precision: str = "fp32") -> tuple[Weights, Weights]:
    return Weights.load(folders["good"], precision), Weights.load(folders["bad"], precision)


def stepped_at_once(good: Weights, bad: Weights, rows: int = ROWS) -> tuple[Decoder, SecondDecoder]:
    first, second = pair_of(good, bad, rows, LENGTH)
    assert isinstance(second, SecondDecoder)
    return first, second


def words_of(rows: int, length: int) -> Tensor:
    return torch.randint(4, 260, (rows, length), generator=torch.Generator().manual_seed(3))


def test_logits_of_both_equal_those_of_transformers(folders: dict[str, Path]) -> None:
    words, rows = words_of(ROWS, LENGTH), torch.arange(ROWS)
    models = [LlamaForCausalLM.from_pretrained(folders[name]).eval() for name in ("good", "bad")]
    with torch.no_grad():
        expected = torch.stack([model(words).logits[:, PROMPT - 1 :] for model in models])
    pair = stepped_at_once(*weights_of(folders))
    for decoder in pair:
        decoder.begin(rows.tolist(), decoder.read(words[:, : PROMPT - 1], rows), rows, rows)
    ours = torch.stack([pair[1].step_both(words[:, at]) for at in range(PROMPT - 1, LENGTH)], dim=2)
    assert (expected[0] - expected[1]).std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("places", POSITIONS)
def test_each_has_the_bits_that_it_has_alone(places: str, precision: str, folders: dict[str, Path]) -> None:
    weights = weights_of(folders, precision)
    pair = stepped_at_once(*weights)
    alone = [Decoder(one, ROWS, LENGTH) for one in weights]
    numbers = torch.Generator().manual_seed(0)
    for together, single in zip(pair, alone, strict=True):
        single.cache_L2BKTD.copy_(torch.randn(single.cache_L2BKTD.shape, generator=numbers))
        together.cache_L2BKTD.copy_(single.cache_L2BKTD)
        together.positions, single.positions = list(POSITIONS[places]), list(POSITIONS[places])
    for words in words_of(ROWS, 3).t():
        found = pair[1].step_both(words)
        assert torch.equal(found, torch.stack([single.step(words) for single in alone]))
    for together, single in zip(pair, alone, strict=True):
        assert torch.equal(together.cache_L2BKTD, single.cache_L2BKTD)
        assert together.positions == single.positions


@pytest.mark.parametrize("places", POSITIONS)
def test_the_masked_step_of_a_gpu_gives_both_the_logits_of_a_cpu(places: str, folders: dict[str, Path]) -> None:
    weights = weights_of(folders)
    (_, plain), (_, masked) = stepped_at_once(*weights), stepped_at_once(*weights)
    plain.both.cache_L2NKTD.copy_(
        torch.randn(plain.both.cache_L2NKTD.shape, generator=torch.Generator().manual_seed(0))
    )
    masked.both.cache_L2NKTD.copy_(plain.both.cache_L2NKTD)
    for decoder in (plain.first, plain):
        decoder.positions = list(POSITIONS[places])
    words = words_of(ROWS, 1)[:, 0]
    with torch.inference_mode():
        expected = plain.step_both(words)
        found = masked.both.forward_masked(words, torch.tensor(POSITIONS[places]), LENGTH)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(masked.both.cache_L2NKTD, plain.both.cache_L2NKTD, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stop_at_eos", [False, True])
def test_a_shard_is_the_same_whether_models_are_stepped_at_once_or_in_turn(
    stop_at_eos: bool, folders: dict[str, Path], vocabulary: Vocabulary, params: Callable[..., dict[str, Any]]
) -> None:
    weights, prompts = weights_of(folders), words_of(3, PROMPT).numpy()
    how = Decoding(**params(stop_at_eos=stop_at_eos)["decoding"])
    turns = [Decoder(one, ROWS, LENGTH) for one in weights]
    shards = [
        Sampler(good, bad, how, prompts, 30, 1, vocabulary).shard(0, 4, lambda _: None)
        for good, bad in (turns, stepped_at_once(*weights))
    ]
    assert np.array_equal(shards[0].words_SN, shards[1].words_SN)
    assert shards[0].kl_sums_N == shards[1].kl_sums_N
    assert len(np.unique(shards[0].words_SN)) > 20


def test_a_bad_with_dropout_or_of_another_shape_is_stepped_in_turn(folders: dict[str, Path]) -> None:
    good, smaller = Weights.load(folders["good"], "fp32"), Weights.load(folders["smaller"], "fp32")
    for pair in (
        pair_of(good, smaller, ROWS, LENGTH),
        pair_of(good, good, ROWS, LENGTH, AttentionDropout(0.3, 1)),
        pair_of(good, None, ROWS, LENGTH),
    ):
        assert not isinstance(pair[1], SecondDecoder)


def test_rows_that_stand_elsewhere_are_refused(folders: dict[str, Path]) -> None:
    first, second = stepped_at_once(*weights_of(folders))
    first.positions = [2] * ROWS
    with pytest.raises(ValueError, match="same positions"):
        second.step_both(torch.zeros(ROWS, dtype=torch.int64))
