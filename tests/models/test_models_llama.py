"""Laws of the model: its weights follow from a seed, and a checkpoint is what transformers reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ablab.errors import InputError
from ablab.models.llama import initialise, llama_config, load_checkpoint, save_checkpoint
from ablab.spec.recipe import Model

MODEL = Model(layers=2, hidden=16, heads=2, ffn=32, context=16)
TIED = Model(layers=2, hidden=16, heads=2, kv_heads=1, ffn=32, context=16, tied_embeddings=True, rope_theta=5000.0)
TOKENS = torch.arange(4, 16).repeat(2, 1)


def saved(directory: Path, model: Model, seed: int = 3) -> Path:
    directory.mkdir()
    built = initialise(llama_config(model, 40), seed)
    save_checkpoint(directory, built.config, built.state_dict())
    return directory


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = initialise(llama_config(MODEL, 40), 3).state_dict()
    torch.manual_seed(2)
    after = torch.initial_seed(), torch.get_rng_state()
    other = initialise(llama_config(MODEL, 40), 3).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), after[1])
    assert not torch.equal(one["lm_head.weight"], initialise(llama_config(MODEL, 40), 4).state_dict()["lm_head.weight"])


def test_attention_is_of_torchs_fused_kind() -> None:
    assert initialise(llama_config(MODEL, 40), 3).config._attn_implementation == "sdpa"


def test_matrices_start_normal_and_norms_at_one() -> None:
    wide = Model(layers=1, hidden=64, heads=2, ffn=128, context=16)
    for name, parameter in initialise(llama_config(wide, 256), -5).state_dict().items():
        if parameter.dim() == 1:
            assert bool((parameter == 1.0).all()), name
        else:
            assert abs(float(parameter.std()) - 0.02) < 0.001, name
            assert abs(float(parameter.mean())) < 0.001, name


@pytest.mark.parametrize("model", [MODEL, TIED])
def test_transformers_loads_a_checkpoint_as_the_same_model(model: Model, tmp_path: Path) -> None:
    directory = saved(tmp_path / "step", model)
    theirs = AutoModelForCausalLM.from_pretrained(directory)
    built = initialise(llama_config(model, 40), 3).eval()
    with torch.no_grad():
        assert torch.equal(theirs(TOKENS).logits, built(TOKENS).logits)
        assert torch.equal(load_checkpoint(directory)(TOKENS).logits, built(TOKENS).logits)
    assert theirs.dtype == torch.float32


@pytest.mark.parametrize("model", [MODEL, TIED])
def test_equal_weights_are_saved_as_equal_bytes(model: Model, tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one", model), saved(tmp_path / "other", model)
    for name in ("config.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
        assert (one / name).stat().st_mode == (one / "config.json").stat().st_mode
    assert "transformers_version" not in json.loads((one / "config.json").read_text())


def test_half_precision_keeps_rotary_frequencies_in_fp32(tmp_path: Path) -> None:
    directory = saved(tmp_path / "step", MODEL)
    whole, half = load_checkpoint(directory), load_checkpoint(directory, dtype=torch.bfloat16)
    assert half.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(half.model.rotary_emb.inv_freq, whole.model.rotary_emb.inv_freq)


def test_load_checkpoint_with_missing_files_names_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json and no model\.safetensors"):
        load_checkpoint(tmp_path)
