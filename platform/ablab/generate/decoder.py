"""A Llama decoder for fixed batches: caches are allocated once, then one prefill and many steps write into them.

Same function as transformers' `LlamaForCausalLM` (fp32: logits equal to 1e-4), arranged for decoding: projections are
fused (see `ablab.generate.layout`) and residuals are added inside them.
"""

# B rows, T positions, S new positions, N = B x S, V vocabulary
# E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ablab.generate.dropout import AttentionDropout
from ablab.generate.layout import Layer, Weights
from ablab.generate.weights import Architecture


class Decoder:
    """Decodes `rows` sequences of at most `length` positions at a time; all rows are at the same position.

    `prefill` begins new sequences in place of the old ones; `step` adds one word to each. Decoders may share their
    weights; each has a cache of its own.
    """

    def __init__(self, weights: Weights, rows: int, length: int, dropout: AttentionDropout | None = None) -> None:
        self.weights, self.shape = weights, weights.shape
        self.rows, self.length, self.dropout = rows, length, dropout
        self.device, dtype = weights.embedding_VE.device, weights.embedding_VE.dtype
        self.rotation_TxD2 = _rotation(self.shape, length).to(self.device)
        cache = (self.shape.layers, 2, rows, self.shape.kv_heads, length, self.shape.head_dim)
        self.cache_L2BKTD = torch.zeros(cache, device=self.device, dtype=dtype)
        self.sequences_B = torch.zeros(rows, device=self.device, dtype=torch.int64)
        self.position = 0

    @torch.inference_mode()
    def prefill(self, prompts_BS: Tensor, sequences_B: Tensor) -> Tensor:
        """Logits [B, V] in float32 behind the last word of each prompt; int64 prompts of one length, no padding.

        The numbers of the sequences decide which attention weights are dropped, where any are.
        """
        self.position = 0
        self.sequences_B = sequences_B
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
        weights, epsilon = self.weights, self.shape.rms_eps
        x_NE = weights.embedding_VE[words_BS.flatten()]
        for index, layer in enumerate(weights.layers):
            attended = self._attend(F.rms_norm(x_NE, x_NE.shape[-1:], layer.attention_norm_E, epsilon), index, new)
            x_NE = torch.addmm(x_NE, attended, layer.out_HDxE)
            x_NE = _feed_forward(x_NE, layer, epsilon)
        self.position += new
        last_BE = x_NE.view(rows, new, -1)[:, -1]
        return (F.rms_norm(last_BE, last_BE.shape[-1:], weights.norm_E, epsilon) @ weights.head_EV).float()

    def _attend(self, x_NE: Tensor, index: int, new: int) -> Tensor:
        """Attention of the new positions to all before them: [N, H x D]; writes their keys and values."""
        heads, kv_heads, size = self.shape.heads, self.shape.kv_heads, self.shape.head_dim
        begin, end = self.position, self.position + new
        cache_2BKTD = self.cache_L2BKTD[index]
        qkv = (x_NE @ self.weights.layers[index].qkv_EP).view(self.rows, new, heads + 2 * kv_heads, size)
        rotated = _rotate(qkv[:, :, : heads + kv_heads], self.rotation_TxD2[begin:end])
        cache_2BKTD[0, :, :, begin:end] = rotated[:, :, heads:].transpose(1, 2)
        cache_2BKTD[1, :, :, begin:end] = qkv[:, :, heads + kv_heads :].transpose(1, 2)
        seen_2BKTD = cache_2BKTD[:, :, :, :end]
        query = rotated[:, :, :heads]
        if self.dropout is not None:
            attended = self.dropout.attend(query, seen_2BKTD, self.sequences_B, index)
        else:
            attended = _attend(query, seen_2BKTD)
        return attended.reshape(self.rows * new, heads * size)


def _attend(query_BSHD: Tensor, cache_2BKTD: Tensor) -> Tensor:
    """Causal attention of the last S of T positions to all T: [B, S, H, D]."""
    rows, new, heads, size = query_BSHD.shape
    keys, values = cache_2BKTD
    kv_heads = keys.shape[1]
    if new == 1:
        # the G heads of one key/value head become G queries of it: grouped attention without copies
        grouped = query_BSHD.reshape(rows, kv_heads, heads // kv_heads, size)
        return F.scaled_dot_product_attention(grouped, keys, values).view(rows, 1, heads, size)
    query = query_BSHD.transpose(1, 2)
    attended = F.scaled_dot_product_attention(query, keys, values, is_causal=True, enable_gqa=heads != kv_heads)
    return attended.transpose(1, 2)


def _feed_forward(x_NE: Tensor, layer: Layer, epsilon: float) -> Tensor:
    normed = F.rms_norm(x_NE, x_NE.shape[-1:], layer.ffn_norm_E, epsilon)
    gate, up = (normed @ layer.gate_up_Ex2F).chunk(2, dim=-1)
    return torch.addmm(x_NE, F.silu(gate).mul_(up), layer.down_FE)


def _rotate(heads_BSHD: Tensor, rotation_SxD2: Tensor) -> Tensor:
    """Neighbouring dimensions as complex numbers, turned by the angle of their position; computed in float32."""
    pairs = torch.view_as_complex(heads_BSHD.float().view(*heads_BSHD.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation_SxD2[:, None]).flatten(-2).to(heads_BSHD.dtype)


def _rotation(shape: Architecture, length: int) -> Tensor:
    """complex64 [T, D/2]: exp(i x position x theta^(-2j/D))."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / shape.rope_theta**exponents)
    return torch.polar(torch.ones_like(angles), angles)
