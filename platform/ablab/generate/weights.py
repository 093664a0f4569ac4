"""Reading a transformers-Llama checkpoint: `config.json` and `model.safetensors`, never pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ablab.errors import RunError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Architecture:
    """Shape of a Llama decoder, as `config.json` states it."""

    vocab_size: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    context: int
    rms_eps: float
    rope_theta: float
    tied_embeddings: bool

    @property
    def head_sizes(self) -> tuple[int, int, int]:
        """Heads, key/value heads, dimensions of each."""
        return self.heads, self.kv_heads, self.head_dim


def read_architecture(folder: Path) -> Architecture:
    """The checkpoint's shape. Raises `RunError` for what this decoder does not compute."""
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"checkpoint {folder.name} has no config.json", "compute the training again")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    # transformers 4 keeps rope_theta beside rope_scaling, transformers 5 inside rope_parameters
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    _refuse_unsupported(config, rope, folder)
    heads = config["num_attention_heads"]
    return Architecture(
        vocab_size=config["vocab_size"],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        ffn=config["intermediate_size"],
        context=config["max_position_embeddings"],
        rms_eps=float(config["rms_norm_eps"]),
        rope_theta=float(theta),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _refuse_unsupported(config: dict[str, Any], rope: dict[str, Any], folder: Path) -> None:
    wanted = {
        "model_type": (config.get("model_type"), "llama"),
        "hidden_act": (config.get("hidden_act"), "silu"),
        "attention_bias": (config.get("attention_bias", False), False),
        "mlp_bias": (config.get("mlp_bias", False), False),
        "rope_type": (rope.get("rope_type", rope.get("type", "default")), "default"),
    }
    faults = [f"{name}={value!r} (must be {only!r})" for name, (value, only) in wanted.items() if value != only]
    if faults:
        raise RunError(f"checkpoint {folder.name} cannot be decoded: {', '.join(faults)}", "use a plain Llama")


def read_weights(folder: Path, architecture: Architecture, device: str) -> dict[str, Tensor]:
    """Every tensor by its transformers name, without the prefix `model.`, as stored."""
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise RunError(f"checkpoint {folder.name}: model.safetensors cannot be read: {error}") from error
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    if architecture.tied_embeddings:
        weights["lm_head.weight"] = weights["embed_tokens.weight"]
    missing = sorted(set(_expected(architecture)) - weights.keys())
    if missing:
        raise RunError(f"checkpoint {folder.name} lacks the tensors {', '.join(missing)}", "compute the training again")
    return weights


def _expected(architecture: Architecture) -> list[str]:
    attention = [f"self_attn.{part}_proj" for part in "qkvo"]
    layer = [*attention, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"]
    names = [f"layers.{index}.{part}.weight" for index in range(architecture.layers) for part in layer]
    return ["embed_tokens.weight", "norm.weight", "lm_head.weight", *names]
