"""Weights of a Llama as the decoder wants them: read once, shared by every decoder that computes with them.

Query, key and value are one projection, gate and up are one. Rotary positions (Su et al. 2021, eq. 34) multiply
complex pairs: the rows of the query and key weights are permuted once so that the dimensions i and i + D/2 which
transformers rotates together lie side by side; the products q.k do not change. The gains of the norms are multiplied
into the projections behind them, in float32 before anything is rounded to bf16.
"""

# E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D, V vocabulary

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ablab.generate.weights import DTYPES, Architecture, read_architecture, read_weights

CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class Layer:
    """Weights of one block, laid out for `x @ w`."""

    qkv_EP: Tensor
    out_HDxE: Tensor
    gate_up_Ex2F: Tensor
    down_FE: Tensor


@dataclass(frozen=True)
class Weights:
    """A whole model, read-only."""

    shape: Architecture
    embedding_VE: Tensor
    layers: tuple[Layer, ...]
    head_EV: Tensor

    @classmethod
    def load(cls, checkpoint: Path, precision: str, device: str = "cpu") -> Weights:
        """From a checkpoint folder; `precision` is fp32 or bf16 (weights, caches and products; logits are fp32)."""
        if precision not in DTYPES:
            raise ValueError(f"precision={precision!r} must be one of {', '.join(DTYPES)}")
        shape = read_architecture(checkpoint)
        named = read_weights(checkpoint, shape, device)
        dtype = DTYPES[precision]
        return cls(
            shape=shape,
            embedding_VE=named["embed_tokens.weight"].to(dtype),
            layers=tuple(_fuse(named, shape, index, dtype) for index in range(shape.layers)),
            head_EV=_behind(named["norm.weight"], [named["lm_head.weight"]], dtype),
        )

    @property
    def nbytes(self) -> int:
        """Of memory, the room behind rows included."""
        parts = [part for layer in self.layers for part in vars(layer).values()]
        return sum(part.untyped_storage().nbytes() for part in (self.embedding_VE, self.head_EV, *parts))

    def rotation(self, length: int) -> Tensor:
        """complex64 [length, D/2]: exp(i x position x theta^(-2j/D))."""
        exponents = torch.arange(0, self.shape.head_dim, 2, dtype=torch.float32) / self.shape.head_dim
        angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / self.shape.rope_theta**exponents)
        return torch.polar(torch.ones_like(angles), angles).to(self.embedding_VE.device)


def _fuse(weights: dict[str, Tensor], shape: Architecture, index: int, dtype: torch.dtype) -> Layer:
    def named(part: str) -> Tensor:
        return weights[f"layers.{index}.{part}.weight"]

    query = _pair_up(named("self_attn.q_proj"), shape.head_dim)
    key = _pair_up(named("self_attn.k_proj"), shape.head_dim)
    return Layer(
        qkv_EP=_behind(named("input_layernorm"), [query, key, named("self_attn.v_proj")], dtype),
        out_HDxE=_transposed(named("self_attn.o_proj"), dtype),
        gate_up_Ex2F=_behind(named("post_attention_layernorm"), [named("mlp.gate_proj"), named("mlp.up_proj")], dtype),
        down_FE=_transposed(named("mlp.down_proj"), dtype),
    )


def _behind(gains_E: Tensor, projections_PE: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Projections that follow a norm, as one: [E, sum of P]."""
    return _transposed(torch.cat(projections_PE).float() * gains_E.float(), dtype)


def _transposed(weight_PE: Tensor, dtype: torch.dtype) -> Tensor:
    """[E, P], its rows a cache line farther apart than they are long: at a power of two they would fall on the same few
    sets of the cache, which costs wide products 12 to 16 % of their speed (docs/journal.md)."""
    projections, hidden = weight_PE.shape
    room = torch.zeros(hidden, projections + CACHE_LINE // dtype.itemsize, dtype=dtype, device=weight_PE.device)
    return room[:, :projections].copy_(weight_PE.t())


def _pair_up(weight_PE: Tensor, head_dim: int) -> Tensor:
    """Rows of every head reordered 0, D/2, 1, D/2 + 1, ..."""
    per_head = weight_PE.view(-1, 2, head_dim // 2, weight_PE.shape[-1])
    return per_head.transpose(1, 2).reshape(weight_PE.shape)
