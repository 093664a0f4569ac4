"""One more word for every row: what a step computes, for one model or for several of one shape at once.

Models of one shape share every operation but the products with their weights: norms, rotations, attention and its
cache are computed over the rows of all. No row sees another, so each model has the bits that it has alone.
"""

# M models, B rows of each, N = M x B, T positions of the cache
# E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ablab.generate.graphs import StepGraphs, bucket_of
from ablab.generate.layout import Layer, Weights

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Another attention than the plain one: from queries [N, H, D], keys and values [2, N, K, T, D], positions [N] and the
number of the layer."""


class Layers(NamedTuple):
    """One block of every model."""

    qkv_MEP: list[Tensor]
    out_MxHDxE: list[Tensor]
    gate_up_MxEx2F: list[Tensor]
    down_MFE: list[Tensor]


def side_by_side(layers_M: Sequence[Layer]) -> Layers:
    return Layers(
        [layer.qkv_EP for layer in layers_M],
        [layer.out_HDxE for layer in layers_M],
        [layer.gate_up_Ex2F for layer in layers_M],
        [layer.down_FE for layer in layers_M],
    )


class Stack:
    """Models of one shape and their cache, in which the rows of the second lie behind those of the first."""

    def __init__(self, weights_M: tuple[Weights, ...], cache_L2NKTD: Tensor) -> None:
        self.weights_M, self.cache_L2NKTD = weights_M, cache_L2NKTD
        self.heads_M = [weights.head_EV for weights in weights_M]
        self.layers = [side_by_side(layers_M) for layers_M in zip(*(one.layers for one in weights_M), strict=True)]
        self.device, (rows, _, self.length, _) = cache_L2NKTD.device, cache_L2NKTD.shape[2:]
        self.rotation_TxD2 = weights_M[0].rotation(self.length)
        graphed = self.device.type == "cuda"
        self.graphs = StepGraphs(rows // len(weights_M), self.device) if graphed else None

    def step(self, words_B: Tensor, positions: list[int], attend: Attend | None = None) -> Tensor:
        """Logits [M, B, V] in float32 behind one more word per row, which every model is given at these positions; on
        a GPU the next step may overwrite them."""
        if self.graphs is not None and attend is None:
            return self.graphs.step(self.forward_masked, words_B, positions, bucket_of(positions, self.length))
        return self._forward(words_B, Places.of(positions * len(self.weights_M), self.device), attend)

    def forward_masked(self, words_B: Tensor, positions_B: Tensor, end: int) -> Tensor:
        """A step that reads the keys of every row up to `end` and masks those behind its position."""
        return self._forward(words_B, Places(positions_B.repeat(len(self.weights_M)), end))

    def _forward(self, words_B: Tensor, places: Places, attend: Attend | None = None) -> Tensor:
        epsilon, rotation_Nx1xD2 = self.weights_M[0].shape.rms_eps, self.rotation_TxD2[places.index, None]
        x_NE = _joined([weights.embedding_VE[words_B] for weights in self.weights_M])
        for index, layer in enumerate(self.layers):
            qkv_NP = product(normed(x_NE, epsilon), layer.qkv_MEP)
            attended_NP = self._attend(qkv_NP, index, rotation_Nx1xD2, places, attend)
            x_NE = feed_forward(added(x_NE, attended_NP, layer.out_MxHDxE), layer, epsilon)
        logits_NV = product(normed(x_NE, epsilon), self.heads_M)
        return logits_NV.float().view(len(self.weights_M), len(words_B), -1)

    def _attend(
        self, qkv_NP: Tensor, index: int, rotation_Nx1xD2: Tensor, places: Places, attend: Attend | None
    ) -> Tensor:
        """Attention of one new position per row to all before it: [N, H x D]; writes its key and value."""
        cache_2NKTD = self.cache_L2NKTD[index]
        heads, kv_heads, size = self.weights_M[0].shape.head_sizes
        qkv = qkv_NP.view(len(qkv_NP), -1, size)
        rotated = rotate(qkv[:, : heads + kv_heads], rotation_Nx1xD2)
        places.write(cache_2NKTD[0], rotated[:, heads:])
        places.write(cache_2NKTD[1], qkv[:, heads + kv_heads :])
        if attend is not None:
            attended = attend(rotated[:, :heads], cache_2NKTD[:, :, :, : places.end], places.positions_N, index)
        else:
            # the G heads of one key/value head become G queries of it: grouped attention without copies
            grouped_NKGD = rotated[:, :heads].reshape(len(qkv), kv_heads, heads // kv_heads, size)
            attended = places.attend(grouped_NKGD, cache_2NKTD)
        return attended.reshape(len(qkv), heads * size)


class Places:
    """Where the rows of one step stand: all at one position, or each at its own."""

    def __init__(self, positions_N: Tensor, end: int, positions: list[int] | None = None) -> None:
        """Keys are read up to `end`; without `positions` on the host no row is told from another."""
        self.positions_N, self.end, self.positions = positions_N, end, positions
        self.one = positions is not None and min(positions) + 1 == end
        self.rows_N = torch.arange(len(positions_N), device=positions_N.device)
        self.index: slice | Tensor = slice(end - 1, end) if self.one else positions_N

    @classmethod
    def of(cls, positions: list[int], device: torch.device) -> Places:
        """No key behind the farthest row is read."""
        return cls(torch.tensor(positions, device=device), max(positions) + 1, positions)

    def write(self, cache_NKTD: Tensor, new_NKD: Tensor) -> None:
        if self.one:
            cache_NKTD[:, :, self.end - 1] = new_NKD
        else:
            cache_NKTD[self.rows_N, :, self.positions_N] = new_NKD

    def attend(self, query_NKGD: Tensor, cache_2NKTD: Tensor) -> Tensor:
        """[N, K, G, D]. With positions on the host each row's own keys are read and no more; else one masked call."""
        keys, values = cache_2NKTD[:, :, :, : self.end]
        if self.one:
            return F.scaled_dot_product_attention(query_NKGD, keys, values)
        if self.positions is None:
            seen_NT = torch.arange(self.end, device=keys.device) <= self.positions_N[:, None]
            return F.scaled_dot_product_attention(query_NKGD, keys, values, attn_mask=seen_NT[:, None, None])
        parts = [
            F.scaled_dot_product_attention(query_NKGD[rows], keys[rows, :, :end], values[rows, :, :end])
            for rows, end in _runs(self.positions)
        ]
        return torch.cat(parts)


def _runs(positions: list[int]) -> Iterator[tuple[slice, int]]:
    """Neighbouring rows at one position, and the end of their keys."""
    first = 0
    for position, rows in groupby(positions):
        last = first + len(list(rows))
        yield slice(first, last), position + 1
        first = last


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def product(x_NE: Tensor, weights_M: Sequence[Tensor]) -> Tensor:
    """Each model's rows with its own weights [E, P]: [N, P]. One stacked product is a few percent faster and rounds
    otherwise than each alone (docs/journal.md)."""
    if len(weights_M) == 1:
        return x_NE @ weights_M[0]
    out_NP = x_NE.new_empty(len(x_NE), weights_M[0].shape[1])
    models = len(weights_M)
    for x_BE, weight_EP, out_BP in zip(x_NE.chunk(models), weights_M, out_NP.chunk(models), strict=True):
        torch.mm(x_BE, weight_EP, out=out_BP)
    return out_NP


def added(x_NE: Tensor, inner_NI: Tensor, weights_M: Sequence[Tensor]) -> Tensor:
    """x and the product of the inner activations with each model's weights [I, E]."""
    if len(weights_M) == 1:
        return torch.addmm(x_NE, inner_NI, weights_M[0])
    out_NE, models = torch.empty_like(x_NE), len(weights_M)
    parts = zip(x_NE.chunk(models), inner_NI.chunk(models), weights_M, out_NE.chunk(models), strict=True)
    for x_BE, inner_BI, weight_IE, out_BE in parts:
        torch.addmm(x_BE, inner_BI, weight_IE, out=out_BE)
    return out_NE


def normed(x_NE: Tensor, epsilon: float) -> Tensor:
    """x divided by its root mean square (Zhang & Sennrich 2019), in float32; the gains are part of the next weights."""
    norms_N1 = torch.linalg.vector_norm(x_NE, dim=-1, keepdim=True, dtype=torch.float32)
    scales_N1: Tensor = norms_N1.square_().div_(x_NE.shape[-1]).add_(epsilon).rsqrt_()
    return x_NE * scales_N1.to(x_NE.dtype)


def feed_forward(x_NE: Tensor, layer: Layers, epsilon: float) -> Tensor:
    gate, up = product(normed(x_NE, epsilon), layer.gate_up_MxEx2F).chunk(2, dim=-1)
    return added(x_NE, F.silu(gate, inplace=True).mul_(up), layer.down_MFE)


def rotate(heads_xHD: Tensor, rotation_xD2: Tensor) -> Tensor:
    """Neighbouring dimensions as complex numbers, turned by the angle of their position; computed in float32."""
    pairs = torch.view_as_complex(heads_xHD.float().view(*heads_xHD.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation_xD2).flatten(-2).to(heads_xHD.dtype)
