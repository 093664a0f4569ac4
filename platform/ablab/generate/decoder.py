"""A Llama decoder for fixed batches: caches are allocated once, then one prefill and many steps write into them.

Same function as transformers' `LlamaForCausalLM` (fp32: logits equal to 1e-4), arranged for decoding: query, key and
value are one projection, gate and up are one, residuals are added inside the projections. Rotary positions
(Su et al. 2021, eq. 34) multiply complex pairs: the rows of the query and key weights are permuted once so that
the dimensions i and i + D/2 which transformers rotates together lie side by side; the products q.k do not change.
"""

# B rows, T positions, S new positions, N = B x S, V vocabulary
# E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
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


class Decoder:
    """Decodes `rows` sequences of at most `length` positions at a time; all rows are at the same position.

    `prefill` begins new sequences in place of the old ones; `step` adds one word to each.
    """

    def __init__(self, weights: dict[str, Tensor], shape: Architecture, rows: int, length: int) -> None:
        self.shape, self.rows, self.length = shape, rows, length
        self.embedding_VE = weights["embed_tokens.weight"]
        self.head_EV = weights["lm_head.weight"].t().contiguous()
        self.norm_E = weights["norm.weight"]
        self.layers = [_fuse(weights, shape, index) for index in range(shape.layers)]
        device, dtype = self.embedding_VE.device, self.embedding_VE.dtype
        self.rotation_TxD2 = _rotation(shape, length).to(device)
        cache = (shape.layers, 2, rows, shape.kv_heads, length, shape.head_dim)
        self.cache_L2BKTD = torch.zeros(cache, device=device, dtype=dtype)
        self.position = 0

    @classmethod
    def load(cls, checkpoint: Path, precision: str, rows: int, length: int, device: str = "cpu") -> Decoder:
        """From a checkpoint folder; `precision` is fp32 or bf16 (weights, caches and products; logits are fp32)."""
        if precision not in DTYPES:
            raise ValueError(f"precision={precision!r} must be one of {', '.join(DTYPES)}")
        shape = read_architecture(checkpoint)
        return cls(read_weights(checkpoint, shape, precision, device), shape, rows, length)

    @torch.inference_mode()
    def prefill(self, prompts_BS: Tensor) -> Tensor:
        """Logits [B, V] in float32 behind the last word of each prompt; int64 prompts of one length, no padding."""
        self.position = 0
        return self._forward(prompts_BS)

    @torch.inference_mode()
    def step(self, words_B: Tensor) -> Tensor:
        """Logits [B, V] in float32 behind one more word per row."""
        return self._forward(words_B[:, None])

    def _forward(self, words_BS: Tensor) -> Tensor:
        rows, new = words_BS.shape
        if rows != self.rows or not 0 < new <= self.length - self.position:
            raise ValueError(
                f"words of shape {rows} x {new} must be rows={self.rows} x at most {self.length - self.position}"
            )
        x_NE = self.embedding_VE[words_BS.flatten()]
        for layer, cache in zip(self.layers, self.cache_L2BKTD, strict=True):
            attended = self._attend(
                F.rms_norm(x_NE, x_NE.shape[-1:], layer.attention_norm_E, self.shape.rms_eps), layer, cache, new
            )
            x_NE = torch.addmm(x_NE, attended, layer.out_HDxE)
            normed = F.rms_norm(x_NE, x_NE.shape[-1:], layer.ffn_norm_E, self.shape.rms_eps)
            gate, up = (normed @ layer.gate_up_Ex2F).chunk(2, dim=-1)
            x_NE = torch.addmm(x_NE, F.silu(gate).mul_(up), layer.down_FE)
        self.position += new
        last_BE = x_NE.view(rows, new, -1)[:, -1]
        return (F.rms_norm(last_BE, last_BE.shape[-1:], self.norm_E, self.shape.rms_eps) @ self.head_EV).float()

    def _attend(self, x_NE: Tensor, layer: Layer, cache_2BKTD: Tensor, new: int) -> Tensor:
        """Attention of the new positions to all before them: [N, H x D]; writes their keys and values."""
        heads, kv_heads, size = self.shape.heads, self.shape.kv_heads, self.shape.head_dim
        begin, end = self.position, self.position + new
        qkv = (x_NE @ layer.qkv_EP).view(self.rows, new, heads + 2 * kv_heads, size)
        rotated = _rotate(qkv[:, :, : heads + kv_heads], self.rotation_TxD2[begin:end])
        cache_2BKTD[0, :, :, begin:end] = rotated[:, :, heads:].transpose(1, 2)
        cache_2BKTD[1, :, :, begin:end] = qkv[:, :, heads + kv_heads :].transpose(1, 2)
        keys, values = cache_2BKTD[:, :, :, :end]
        query = rotated[:, :, :heads]
        if new == 1:
            # the G heads of one key/value head become G queries of it: grouped attention without copies
            grouped = query.reshape(self.rows, kv_heads, heads // kv_heads, size)
            return F.scaled_dot_product_attention(grouped, keys, values).reshape(self.rows, heads * size)
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2), keys, values, is_causal=True, enable_gqa=heads != kv_heads
        )
        return attended.transpose(1, 2).reshape(self.rows * new, heads * size)


def _rotate(heads_BSHD: Tensor, rotation_SxD2: Tensor) -> Tensor:
    """Neighbouring dimensions as complex numbers, turned by the angle of their position; computed in float32."""
    pairs = torch.view_as_complex(heads_BSHD.float().view(*heads_BSHD.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation_SxD2[:, None]).flatten(-2).to(heads_BSHD.dtype)


def _rotation(shape: Architecture, length: int) -> Tensor:
    """complex64 [T, D/2]: exp(i x position x theta^(-2j/D))."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / shape.rope_theta**exponents)
    return torch.polar(torch.ones_like(angles), angles)


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
