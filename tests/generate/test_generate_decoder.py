"""The decoder computes what transformers computes, at every shape that this project trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from ablab.errors import RunError
from ablab.generate.decoder import Decoder
from ablab.generate.layout import Weights
from ablab.generate.weights import read_architecture, read_weights

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "untied, one layer": {"num_hidden_layers": 1, "num_attention_heads": 2},
    "tied": {"tie_word_embeddings": True},
    "grouped query": {"num_key_value_heads": 2},
    "one key/value head, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "other rotation and epsilon": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rms_norm_eps": 1e-3,
    },
    "head size of its own": {"head_dim": 12},
}


def make_llama(folder: Path, seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    config = LlamaConfig(
        **(sizes | {"num_attention_heads": 4, "max_position_embeddings": 64, "initializer_range": 0.3} | changes)
    )
    model = LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:  # as initialised they are all one, which would hide a missing weight
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder)
    return model


def decoded_logits(decoder: Decoder, words_BT: Tensor, prompt: int) -> Tensor:
    """Logits behind every position from the last of the prompt on: [B, T - prompt + 1, V]."""
    sequences = torch.arange(decoder.rows)
    decoder.begin(sequences.tolist(), decoder.read(words_BT[:, : prompt - 1], sequences), sequences, sequences)
    logits = [decoder.step(words_BT[:, position]) for position in range(prompt - 1, words_BT.shape[1])]
    return torch.stack(logits, dim=1)


def random_words(rows: int, length: int, vocab: int = 97) -> Tensor:
    return torch.randint(vocab, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prompt", [1, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_those_of_transformers(shape: str, prompt: int, tmp_path: Path) -> None:
    model = make_llama(tmp_path, **SHAPES[shape])
    words = random_words(rows=3, length=40)
    with torch.no_grad():
        expected = model(words).logits[:, prompt - 1 :]
    ours = decoded_logits(Decoder(Weights.load(tmp_path, "fp32"), rows=3, length=40), words, prompt)
    assert ours.dtype == torch.float32
    assert expected.std() > 1.0
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", ["plain", "grouped query"])
def test_rows_behind_prompts_of_different_lengths_equal_a_padded_batch_of_transformers(
    shape: str, tmp_path: Path
) -> None:
    model, sizes, steps = make_llama(tmp_path, **SHAPES[shape]), [5, 9, 1], 6
    words = random_words(rows=3, length=20)
    longest = max(sizes)
    padded, seen = torch.zeros(3, longest + steps, dtype=torch.int64), torch.zeros(3, longest + steps)
    for row, size in enumerate(sizes):
        padded[row, longest - size :] = words[row, : size + steps]
        seen[row, longest - size :] = 1
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0).long()
    with torch.no_grad():
        expected = model(padded, attention_mask=seen, position_ids=positions).logits[:, longest - 1 : -1]
    decoder = Decoder(Weights.load(tmp_path, "fp32"), rows=3, length=20)
    for row, size in enumerate(sizes):
        number = torch.tensor([row])
        decoder.begin([row], decoder.read(words[row : row + 1, : size - 1], number), torch.tensor([0]), number)
    fed = [torch.stack([words[row, size - 1 + step] for row, size in enumerate(sizes)]) for step in range(steps)]
    ours = torch.stack([decoder.step(one) for one in fed], dim=1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_a_new_prefill_forgets_the_sequences_before(tmp_path: Path) -> None:
    make_llama(tmp_path)
    decoder = Decoder(Weights.load(tmp_path, "fp32"), rows=2, length=20)
    words = random_words(rows=2, length=20)
    first = decoded_logits(decoder, words, prompt=5)
    decoded_logits(decoder, words.flip(1), prompt=9)
    assert torch.equal(decoded_logits(decoder, words, prompt=5), first)


def test_bfloat16_stays_near_float32(tmp_path: Path) -> None:
    """Within 5 % of the logits' spread; transformers' own bfloat16 is no nearer."""
    model = make_llama(tmp_path)
    words = random_words(rows=8, length=30)
    with torch.no_grad():
        exact = model(words).logits[:, 4:]
        theirs = model.to(torch.bfloat16)(words).logits[:, 4:].float()
    ours = decoded_logits(Decoder(Weights.load(tmp_path, "bf16"), rows=8, length=30), words, prompt=5)
    distance = (ours - exact).square().mean().sqrt() / exact.std()
    assert 0 < distance < 0.05
    assert distance < 1.2 * (theirs - exact).square().mean().sqrt() / exact.std()


def test_rows_and_length_are_held_to_what_was_allocated(tmp_path: Path) -> None:
    make_llama(tmp_path)
    decoder = Decoder(Weights.load(tmp_path, "fp32"), rows=2, length=6)
    with pytest.raises(ValueError, match="rows=2"):
        decoder.step(torch.zeros(3, dtype=torch.int64))
    decoded_logits(decoder, random_words(rows=2, length=6), prompt=3)
    with pytest.raises(ValueError, match="less than 6"):
        decoder.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="fp16"):
        Weights.load(tmp_path, "fp16")


def test_a_configuration_of_transformers_4_reads_alike(tmp_path: Path) -> None:
    make_llama(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    new = read_architecture(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"rope_theta": config.pop("rope_parameters")["rope_theta"], "rope_scaling": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_architecture(tmp_path) == new
    assert new.rope_theta == 500.0


def test_every_unsupported_setting_is_named(tmp_path: Path) -> None:
    make_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"attention_bias": True, "hidden_act": "gelu", "rope_parameters": {"rope_type": "yarn"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"hidden_act='gelu'.*attention_bias=True.*rope_type='yarn'"):
        read_architecture(tmp_path)


def test_absent_and_damaged_weights_are_named(checkpoint: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    with pytest.raises(RunError, match="step-00000001 has no config"):
        read_architecture(folder)
    checkpoint(folder, seed=1)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path)
    with pytest.raises(RunError, match=r"lacks the tensors layers\.1\.mlp\.up_proj\.weight, norm\.weight\n"):
        read_weights(folder, read_architecture(folder), "cpu")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot be read"):
        read_weights(folder, read_architecture(folder), "cpu")
