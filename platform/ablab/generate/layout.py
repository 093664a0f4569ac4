"""Weights of a Llama as the decoder wants them: read once, shared by every decoder that computes with them.

Query, key and value are one projection, gate and up are one. Rotary positions (Su et al. 2021, eq. 34) multiply
complex pairs: the rows of the query and key weights are permuted once so that the dimensions i and i + D/2 which
transformers rotates together lie side by side; the products q.k do not change.
"""

# E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D, V vocabulary

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ablab.generate.weights import DTYPES, Architecture, read_architecture, read_weights


@dataclass(frozen=True)
class Layer:
    """Weights of one block, laid out for `x @ w`."""

    attention_norm_E: Tensor
    qkv_EP: Tensor
    out_HDxE: Tensor
    ffn_norm_E: Tensor
    gate_up_Ex2F: Tensor
    down_FE: Tensor


@dataclass(frozen=True)
class Weights:
    """A whole model, read-only."""

    shape: Architecture
    embedding_VE: Tensor
    layers: tuple[Layer, ...]
    norm_E: Tensor
    head_EV: Tensor

    @classmethod
    def load(cls, checkpoint: Path, precision: str, device: str = "cpu") -> Weights:
        """From a checkpoint folder; `precision` is fp32 or bf16 (weights, caches and products; logits are fp32)."""
        if precision not in DTYPES:
            raise ValueError(f"precision={precision!r} must be one of {', '.join(DTYPES)}")
        shape = read_architecture(checkpoint)
        named = read_weights(checkpoint, shape, precision, device)
        return cls(
            shape=shape,
            embedding_VE=named["embed_tokens.weight"],
            layers=tuple(_fuse(named, shape, index) for index in range(shape.layers)),
            norm_E=named["norm.weight"],
            head_EV=named["lm_head.weight"].t().contiguous(),
        )


def _fuse(weights: dict[str, Tensor], shape: Architecture, index: int) -> Layer:
    def named(part: str) -> Tensor:
        return weights[f"layers.{index}.{part}.weight"]

    query = _pair_up(named("self_attn.q_proj"), shape.head_dim)
    key = _pair_up(named("self_attn.k_proj"), shape.head_dim)
    return Layer(
        attention_norm_E=named("input_layernorm"),
        qkv_EP=torch.cat([query, key, named("self_attn.v_proj")]).t().contiguous(),
        out_HDxE=named("self_attn.o_proj").t().contiguous(),
        ffn_norm_E=named("post_attention_layernorm"),
        gate_up_Ex2F=torch.cat([named("mlp.gate_proj"), named("mlp.up_proj")]).t().contiguous(),
        down_FE=named("mlp.down_proj").t().contiguous(),
    )


def _pair_up(weight_PE: Tensor, head_dim: int) -> Tensor:
    """Rows of every head reordered 0, D/2, 1, D/2 + 1, ..."""
    per_head = weight_PE.view(-1, 2, head_dim // 2, weight_PE.shape[-1])
    return per_head.transpose(1, 2).reshape(weight_PE.shape)
