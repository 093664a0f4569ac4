"""Attention dropout: the masks are what they are said to be, and the decoder is transformers with these masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import repeat_kv

from ablab.generate import dropout
from ablab.generate.decoder import Decoder
from ablab.generate.draws import philox, uniforms
from ablab.generate.dropout import AttentionDropout
from ablab.generate.layout import Weights

ROWS, LENGTH, SEED = 3, 24, 2**40 + 7


def kept(p: float, sequence: int, position: int, layer: int, head: int, key: int, seed: int = SEED) -> bool:
    """The definition, for one weight, in NumPy's uint64."""
    words = [np.array([word], np.uint64) for word in (position, sequence, key // 4, (layer + 1) * 2**16 + head)]
    return int(philox((words[0], words[1], words[2], words[3]), seed)[key % 4][0]) >= round(p * 2**32)


def mask_of(p: float, sequences: list[int], layer: int, heads: int, length: int) -> npt.NDArray[np.bool_]:
    """[B, H, T, T] by the definition."""
    return np.array(
        [
            [
                [[kept(p, sequence, position, layer, head, key) for key in range(length)] for position in range(length)]
                for head in range(heads)
            ]
            for sequence in sequences
        ]
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**16), st.integers(0, 60), st.data())
def test_a_mask_is_a_function_of_its_coordinates_alone(
    seed: int, sequence: int, position: int, layer: int, data: st.DataObject
) -> None:
    """Whatever rows, positions, heads and keys are computed with it."""
    keys, heads, others = (data.draw(st.integers(1, most)) for most in (9, 4, 3))
    sequences = torch.tensor([*range(others), sequence])
    positions = torch.tensor([position, position + 1])
    ours = AttentionDropout(0.4, seed).kept(sequences, positions.expand(len(sequences), -1), keys, layer, heads)
    assert ours.shape == (others + 1, heads, 2, keys)
    expected = [[kept(0.4, sequence, position, layer, head, key, seed) for key in range(keys)] for head in range(heads)]
    assert ours[-1, :, 0].tolist() == expected


def test_every_coordinate_changes_the_mask() -> None:
    base = (0.5, 1, 2, 3, 4)
    changes = [(0.5, 2, 2, 3, 4), (0.5, 1, 3, 3, 4), (0.5, 1, 2, 4, 4), (0.5, 1, 2, 3, 5)]
    rows = [tuple(kept(*point, key) for key in range(40)) for point in [base, *changes]]
    rows.append(tuple(kept(*base, key, seed=SEED + 1) for key in range(40)))
    assert len(set(rows)) == 6


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7])
def test_weights_are_dropped_as_often_as_declared_and_independently(p: float) -> None:
    mask = AttentionDropout(p, 1).kept(torch.arange(20), torch.arange(50).expand(20, 50), 64, 2, 4).numpy()
    dropped = int((~mask).sum())
    assert stats.binomtest(dropped, mask.size, p).pvalue > 1e-3
    for axis in range(4):
        size = mask.shape[axis]
        one, other = np.take(mask, range(size - 1), axis).ravel(), np.take(mask, range(1, size), axis).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(one.size)


def test_masks_share_no_bits_with_the_draws_of_words() -> None:
    """At the counters of the draws the last word is 0; layers and heads begin at 2^16."""
    draws = uniforms(SEED, np.arange(50)[:, None], np.arange(50))
    words = np.stack([(draws * 2.0**32).astype(np.uint64) >= 2**31, (draws * 2.0**53).astype(np.uint64) % 2 == 1])
    mask = AttentionDropout(0.5, SEED).kept(torch.arange(50), torch.arange(50).expand(50, 50), 4, 0, 1)[:, 0].numpy()
    for bits in words:
        for key in range(4):
            assert 0.45 < (bits == mask[:, :, key]).mean() < 0.55


def attend_with_masks(p: float, sequences: list[int]) -> Any:
    """Transformers' eager attention, with the masks in the place of `nn.functional.dropout`."""

    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = (repeat_kv(states, module.num_key_value_groups) for states in (key, value))
        scores = query @ keys.transpose(2, 3) * module.scaling
        length = scores.shape[-1]
        scores = scores + torch.full((length, length), -torch.inf).triu(1)
        weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        mask = mask_of(p, sequences, module.layer_idx, weights.shape[1], length)
        weights = weights * torch.from_numpy(mask) / (1 - p)
        return (weights @ values).transpose(1, 2).contiguous(), weights

    return attention


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LlamaForCausalLM, Path]]:
    folder = tmp_path_factory.mktemp("dropout")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    made = LlamaForCausalLM(config).eval()
    made.save_pretrained(folder)
    yield made, folder


def decoded(folder: Path, words: Tensor, prompt: int, sequences: list[int], dropped: AttentionDropout | None) -> Tensor:
    decoder = Decoder(Weights.load(folder, "fp32"), len(words), words.shape[1], dropped)
    rows, numbers = torch.arange(len(words)), torch.tensor(sequences)
    decoder.begin(rows.tolist(), decoder.read(words[:, : prompt - 1], numbers), rows, numbers)
    return torch.stack([decoder.step(column) for column in words[:, prompt - 1 :].t()], dim=1)


def some_words(rows: int = ROWS) -> Tensor:
    return torch.randint(97, (rows, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prompt", [1, 9])
@pytest.mark.parametrize("p", [0.3, 0.7])
def test_logits_equal_transformers_with_the_same_masks(
    p: float, prompt: int, model: tuple[LlamaForCausalLM, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, folder = model
    sequences, words = [4, 70_000, 2**32 - 1], some_words()
    AttentionInterface.register("masked-by-hand", attend_with_masks(p, sequences))
    llama.config._attn_implementation = "masked-by-hand"
    with torch.no_grad():
        expected = llama(words).logits[:, prompt - 1 :]
        llama.config._attn_implementation = "eager"
        plain = llama(words).logits[:, prompt - 1 :]
    assert (expected - plain).abs().mean() > 0.3
    monkeypatch.setattr(dropout, "LIMIT", 4 * LENGTH * ROWS)  # long prompts are worked through in parts
    ours = decoded(folder, words, prompt, sequences, AttentionDropout(p, SEED))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_a_probability_that_goes_to_zero_is_no_dropout(model: tuple[LlamaForCausalLM, Path]) -> None:
    words = some_words()
    without = decoded(model[1], words, 5, [0, 1, 2], None)
    torch.testing.assert_close(
        decoded(model[1], words, 5, [0, 1, 2], AttentionDropout(1e-10, SEED)), without, rtol=0, atol=1e-5
    )
    assert (decoded(model[1], words, 5, [0, 1, 2], AttentionDropout(0.1, SEED)) - without).abs().mean() > 0.1


def test_a_sequence_is_dropped_alike_among_other_rows(model: tuple[LlamaForCausalLM, Path]) -> None:
    dropped, words = AttentionDropout(0.5, SEED), some_words()
    among = decoded(model[1], words, 5, [7, 8, 9], dropped)[1]
    alone = decoded(model[1], words[1:2], 5, [8], dropped)[0]
    torch.testing.assert_close(alone, among, rtol=0, atol=1e-5)
    assert (decoded(model[1], words[1:2], 5, [7], dropped)[0] - among).abs().mean() > 0.1
