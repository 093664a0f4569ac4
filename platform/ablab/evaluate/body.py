"""The body of a Llama, arranged for scoring: projections are fused, norms are scales alone, nothing is kept.

Same function as transformers' `LlamaModel` (fp32: hidden states equal to 1e-5), and several times as fast where the
matrix products are not what takes the time.
"""

# B rows, S positions, N = B x S, E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaForCausalLM

from ablab.errors import RunError


class Layer(NamedTuple):
    """Weights of one block as transformers stores them, [out, in], with the gains of the norm before multiplied in."""

    qkv_PE: Tensor
    out_EHD: Tensor
    gate_up_2FE: Tensor
    down_EF: Tensor


class Body:
    """Hidden states of a model in its own precision, before the last norm."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        plain = config.hidden_act == "silu" and not config.attention_bias and not config.mlp_bias
        if not plain:
            raise RunError("a model with biases or another activation than silu cannot be scored", "use a plain Llama")
        self.heads, self.kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.head_size = int(config.head_dim)
        self.epsilon = float(config.rms_norm_eps)
        self.context = int(config.max_position_embeddings)
        named = dict(model.named_parameters())
        self.embedding_VE: Tensor = named["model.embed_tokens.weight"]
        self.device = self.embedding_VE.device
        self._layers = [_fused(named, index) for index in range(int(config.num_hidden_layers))]
        positions = torch.arange(self.context, device=self.device)[None]
        cos_1CD, sin_1CD = model.model.rotary_emb(self.embedding_VE, positions)
        half = self.head_size // 2  # both halves of a head turn by the same angles
        self._cos_CD2, self._sin_CD2 = cos_1CD[0, :, :half].contiguous(), sin_1CD[0, :, :half].contiguous()

    def __call__(self, tokens_BS: Tensor, depths_BS: Tensor, mask_BSS: Tensor | None) -> Tensor:
        """[N, E]. `depths_BS`: positions; `mask_BSS`: added to the scores of attention, None for all that is before."""
        (rows, size), head = tokens_BS.shape, self.head_size
        depths_N = depths_BS.flatten()
        cos_N1D, sin_N1D = self._cos_CD2[depths_N, None], self._sin_CD2[depths_N, None]
        mask = None if mask_BSS is None else mask_BSS[:, None]
        x_NE = self.embedding_VE[tokens_BS.flatten()]
        for layer in self._layers:
            qkv_NPD = F.linear(normed(x_NE, self.epsilon), layer.qkv_PE).view(rows * size, -1, head)
            _rotate(qkv_NPD[:, : self.heads + self.kv_heads], cos_N1D, sin_N1D)
            parts = qkv_NPD.view(rows, size, -1, head).transpose(1, 2)
            query, key, value = torch.split(parts, [self.heads, self.kv_heads, self.kv_heads], dim=1)
            attended = F.scaled_dot_product_attention(
                query, key, value, mask, is_causal=mask is None, enable_gqa=self.heads != self.kv_heads
            )
            x_NE = x_NE.addmm_(attended.transpose(1, 2).reshape(rows * size, -1), layer.out_EHD.T)
            gate, up = F.linear(normed(x_NE, self.epsilon), layer.gate_up_2FE).chunk(2, dim=-1)
            x_NE = x_NE.addmm_(F.silu(gate).mul_(up), layer.down_EF.T)
        return x_NE


def normed(x_NE: Tensor, epsilon: float) -> Tensor:
    """x divided by its root mean square (Zhang & Sennrich 2019); the gains are part of the weights behind it."""
    norms_N1 = torch.linalg.vector_norm(x_NE, dim=-1, keepdim=True, dtype=torch.float32)
    scales_N1: Tensor = norms_N1.square_().div_(x_NE.shape[-1]).add_(epsilon).rsqrt_()
    return x_NE * scales_N1.to(x_NE.dtype)


def behind(gains_E: Tensor, *projections: Tensor) -> Tensor:
    """Projections that follow a norm, as one, [sum of their outputs, E]; multiplied in fp32."""
    return (torch.cat(projections).float() * gains_E.float()).to(gains_E.dtype)


def _rotate(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> None:
    """Rotary positions (Su et al. 2021, eq. 34), in place; the dimensions i and i + D/2 turn together."""
    first, second = x_NHD.chunk(2, dim=-1)
    turned = first * cos_N1D - second * sin_N1D
    second.mul_(cos_N1D).addcmul_(first, sin_N1D)
    first.copy_(turned)


def _fused(named: Mapping[str, Tensor], index: int) -> Layer:
    def weight(part: str) -> Tensor:
        return named[f"model.layers.{index}.{part}.weight"]

    attention = [weight(f"self_attn.{part}_proj") for part in "qkv"]
    mlp = [weight(f"mlp.{part}_proj") for part in ("gate", "up")]
    return Layer(
        qkv_PE=behind(weight("input_layernorm"), *attention),
        out_EHD=weight("self_attn.o_proj"),
        gate_up_2FE=behind(weight("post_attention_layernorm"), *mlp),
        down_EF=weight("mlp.down_proj"),
    )
