"""The model: a transformers Llama, initialised from a seed, saved and loaded as a Hugging Face checkpoint directory.

A checkpoint is `config.json` and `model.safetensors` with fp32 weights; `transformers` loads it as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.initialization import no_init_weights

from ablab.errors import InputError
from ablab.spec.recipe import Model

BOS, EOS, PAD = 1, 2, 3
INITIALIZER_RANGE = 0.02  # standard deviation of every matrix at the start, as in Llama
RMS_NORM_EPSILON = 1e-6
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def llama_config(model: Model, vocab_size: int) -> LlamaConfig:
    """The transformers configuration of a declared model; dropout is 0 everywhere."""
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=vocab_size,
        hidden_size=model.hidden,
        intermediate_size=model.ffn,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads or model.heads,
        max_position_embeddings=model.context,
        tie_word_embeddings=model.tied_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta},
        rms_norm_eps=RMS_NORM_EPSILON,
        initializer_range=INITIALIZER_RANGE,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )


def initialise(config: LlamaConfig, seed: int) -> LlamaForCausalLM:
    """A new fp32 model on the CPU: matrices from N(0, 0.02), norms 1.

    The weights follow from (config, seed) alone: a generator of their own fills them in the order of their
    names in the model, and neither reads nor moves torch's global generator.
    """
    model = _empty(config)
    digest = hashlib.sha256(f"initialise/{seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, config.initializer_range, generator=generator)
    return model


def save_checkpoint(directory: Path, config: LlamaConfig, weights: Mapping[str, torch.Tensor]) -> None:
    """Write `config.json` and `model.safetensors` (fp32) into an existing directory. Equal weights, equal bytes."""
    settings = config.to_diff_dict() | {"dtype": "float32"}
    del settings["transformers_version"]  # which version wrote it is for the manifest
    config_file, weights_file = directory / CONFIG, directory / WEIGHTS
    config_file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tensors = {name: weights[name].detach().to("cpu", torch.float32).contiguous() for name in sorted(weights)}
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, weights_file, metadata={"format": "pt"})
    weights_file.chmod(config_file.stat().st_mode)  # safetensors makes it readable for the owner alone


def load_checkpoint(
    directory: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", attention: str = "sdpa"
) -> LlamaForCausalLM:
    """The model of a checkpoint directory in `dtype` on `device`, in evaluation mode, without gradients.

    Rotary frequencies stay fp32 whatever the dtype, as they were in training.
    `attention` is a transformers attention implementation: 'sdpa' or 'eager'.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if missing:
        raise InputError(f"checkpoint {directory.name} has no {' and no '.join(missing)}; train it again")
    config = LlamaConfig.from_dict(json.loads((directory / CONFIG).read_text(encoding="utf-8")))
    model = _empty(config)
    weights = load_file(directory / WEIGHTS)
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        parameter.requires_grad_(False)
    model.set_attn_implementation(attention)
    return model.to(device).eval()


def _empty(config: LlamaConfig) -> LlamaForCausalLM:
    """A model whose parameters are allocated and still arbitrary; its rotary buffers are set."""
    with no_init_weights():
        model = LlamaForCausalLM(config)
    model.tie_weights()
    return model
