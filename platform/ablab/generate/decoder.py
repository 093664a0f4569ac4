"""A Llama decoder for a fixed number of rows: caches are allocated once, then prompts and steps write into them.

Same function as transformers' `LlamaForCausalLM` (fp32: logits equal to 1e-4), arranged for decoding: projections are
fused and norms are scales alone (see `ablab.generate.layout`), residuals are added inside the projections, keys are
rotated into the cache. Rows may stand at different positions, since a row begins anew where its sequence ended.
"""

# B rows, R of them that begin, U prompts read, S their positions, N = U x S (or B), T positions of the cache
# E hidden, F ffn, H heads, K key/value heads, D head size, P = (H + 2K) x D, V vocabulary

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from ablab.generate.dropout import AttentionDropout
from ablab.generate.graphs import StepGraphs, bucket_of
from ablab.generate.layout import Layer, Weights
from ablab.generate.memory import zeros

READ_AT_ONCE = 4_096  # words of prompts


class Decoder:
    """Decodes `rows` sequences of at most `length` positions at a time.

    `read` computes prompts, `begin` puts them into rows in place of what was there, `step` adds a word to every row.
    Decoders may share their weights; each has a cache of its own.
    """

    def __init__(self, weights: Weights, rows: int, length: int, dropout: AttentionDropout | None = None) -> None:
        self.weights, self.shape = weights, weights.shape
        self.rows, self.length, self.dropout = rows, length, dropout
        self.device, dtype = weights.embedding_VE.device, weights.embedding_VE.dtype
        self.rotation_TxD2 = weights.rotation(length)
        cache = (self.shape.layers, 2, rows, self.shape.kv_heads, length, self.shape.head_dim)
        self.cache_L2BKTD = zeros(cache, dtype, self.device)
        self.sequences_B = torch.zeros(rows, device=self.device, dtype=torch.int64)
        self.positions = [0] * rows
        """Words in the cache of each row; host numbers, so that no step waits for the device."""
        graphed = self.device.type == "cuda" and dropout is None
        self.graphs = StepGraphs(rows, self.device) if graphed else None

    @torch.inference_mode()
    def read(self, prompts_US: Tensor, sequences_U: Tensor) -> Tensor:
        """Keys and values [layers, 2, U, K, S, D] of prompts of one length, int64 without padding, to `begin` with.

        A prompt is read once for all its continuations. With attention dropout, where the numbers of the sequences
        decide what is dropped, each sequence needs a reading of its own.
        """
        size = prompts_US.shape[1]
        shape = (self.shape.layers, 2, len(prompts_US), self.shape.kv_heads, size, self.shape.head_dim)
        read_L2UKSD = torch.empty(shape, device=self.device, dtype=self.cache_L2BKTD.dtype)
        part = max(1, READ_AT_ONCE // max(size, 1))
        for first in range(0, len(prompts_US) if size else 0, part):
            some = slice(first, first + part)
            self._read(prompts_US[some], sequences_U[some], read_L2UKSD[:, :, some])
        return read_L2UKSD

    def _read(self, prompts_US: Tensor, sequences_U: Tensor, read_L2UKSD: Tensor) -> None:
        (prompts, size), (heads, kv_heads, head) = prompts_US.shape, self.shape.head_sizes
        rotation_Sx1xD2 = self.rotation_TxD2[:size, None]
        x_NE = self.weights.embedding_VE[prompts_US.flatten()]
        for index, (layer, read_2UKSD) in enumerate(zip(self.weights.layers, read_L2UKSD, strict=True)):
            qkv = (_normed(x_NE, self.shape.rms_eps) @ layer.qkv_EP).view(prompts, size, -1, head)
            rotated = _rotate(qkv[:, :, : heads + kv_heads], rotation_Sx1xD2).transpose(1, 2)
            read_2UKSD[0] = rotated[:, heads:]
            read_2UKSD[1] = qkv[:, :, heads + kv_heads :].transpose(1, 2)
            query_UHSD, (keys, values) = rotated[:, :heads], read_2UKSD
            if self.dropout is not None:
                attended = self.dropout.attend(query_UHSD, keys, values, sequences_U, None, index)
            else:
                attended = F.scaled_dot_product_attention(
                    query_UHSD, keys, values, is_causal=True, enable_gqa=heads != kv_heads
                )
            attended_NP = attended.transpose(1, 2).reshape(prompts * size, -1)
            x_NE = _feed_forward(torch.addmm(x_NE, attended_NP, layer.out_HDxE), layer, self.shape.rms_eps)

    @torch.inference_mode()
    def begin(self, rows: list[int], read_L2UKSD: Tensor, owners_R: Tensor, sequences_R: Tensor) -> None:
        """Row rows[r] becomes sequence sequences_R[r], behind the prompt owners_R[r] of those read."""
        rows_R = torch.tensor(rows, device=self.device)
        size = read_L2UKSD.shape[4]
        self.cache_L2BKTD[:, :, rows_R, :, :size] = read_L2UKSD[:, :, owners_R]
        self.sequences_B[rows_R] = sequences_R
        for row in rows:
            self.positions[row] = size

    def rest(self, rows: list[int]) -> None:
        """Rows that no sequence is left for: they go on with nothing behind them, which costs least."""
        for row in rows:
            self.positions[row] = 0

    @torch.inference_mode()
    def step(self, words_B: Tensor) -> Tensor:
        """Logits [B, V] in float32 behind one more word per row; on a GPU the next step may overwrite them."""
        if len(words_B) != self.rows or max(self.positions) >= self.length:
            raise ValueError(f"{len(words_B)} words must be rows={self.rows}, behind less than {self.length} positions")
        if self.graphs is not None:
            end = bucket_of(self.positions, self.length)
            logits_BV = self.graphs.step(self.forward_masked, words_B, self.positions, end)
        else:
            logits_BV = self._forward(words_B, Places.of(self.positions, self.device))
        self.positions = [position + 1 for position in self.positions]
        return logits_BV

    def forward_masked(self, words_B: Tensor, positions_B: Tensor, end: int) -> Tensor:
        """A step that reads the keys of every row up to `end` and masks those behind its position."""
        return self._forward(words_B, Places(positions_B, end))

    def _forward(self, words_B: Tensor, places: Places) -> Tensor:
        rotation_Bx1xD2 = self.rotation_TxD2[places.index, None]
        x_BE = self.weights.embedding_VE[words_B]
        for index, layer in enumerate(self.weights.layers):
            attended_BP = self._attend(_normed(x_BE, self.shape.rms_eps), index, rotation_Bx1xD2, places)
            x_BE = _feed_forward(torch.addmm(x_BE, attended_BP, layer.out_HDxE), layer, self.shape.rms_eps)
        return self._logits(x_BE)

    def _attend(self, x_BE: Tensor, index: int, rotation_Bx1xD2: Tensor, places: Places) -> Tensor:
        """Attention of one new position per row to all before it: [B, H x D]; writes its key and value."""
        heads, kv_heads, size = self.shape.head_sizes
        cache_2BKTD = self.cache_L2BKTD[index]
        qkv = (x_BE @ self.weights.layers[index].qkv_EP).view(self.rows, -1, size)
        rotated = _rotate(qkv[:, : heads + kv_heads], rotation_Bx1xD2)
        places.write(cache_2BKTD[0], rotated[:, heads:])
        places.write(cache_2BKTD[1], qkv[:, heads + kv_heads :])
        if self.dropout is not None:
            keys, values = cache_2BKTD[:, :, :, : places.end]
            query = rotated[:, :heads, None]
            attended = self.dropout.attend(query, keys, values, self.sequences_B, places.positions_B, index)
            return attended.reshape(self.rows, heads * size)
        # the G heads of one key/value head become G queries of it: grouped attention without copies
        grouped_BKGD = rotated[:, :heads].reshape(self.rows, kv_heads, heads // kv_heads, size)
        return places.attend(grouped_BKGD, cache_2BKTD).reshape(self.rows, heads * size)

    def _logits(self, x_BE: Tensor) -> Tensor:
        return (_normed(x_BE, self.shape.rms_eps) @ self.weights.head_EV).float()


class Places:
    """Where the rows of one step stand: all at one position, or each at its own."""

    def __init__(self, positions_B: Tensor, end: int, positions: list[int] | None = None) -> None:
        """Keys are read up to `end`; without `positions` on the host no row is told from another."""
        self.positions_B, self.end, self.positions = positions_B, end, positions
        self.one = positions is not None and min(positions) + 1 == end
        self.rows_B = torch.arange(len(positions_B), device=positions_B.device)
        self.index: slice | Tensor = slice(end - 1, end) if self.one else positions_B

    @classmethod
    def of(cls, positions: list[int], device: torch.device) -> Places:
        """No key behind the farthest row is read."""
        return cls(torch.tensor(positions, device=device), max(positions) + 1, positions)

    def write(self, cache_BKTD: Tensor, new_BKD: Tensor) -> None:
        if self.one:
            cache_BKTD[:, :, self.end - 1] = new_BKD
        else:
            cache_BKTD[self.rows_B, :, self.positions_B] = new_BKD

    def attend(self, query_BKGD: Tensor, cache_2BKTD: Tensor) -> Tensor:
        """[B, K, G, D]. With positions on the host each row's own keys are read and no more; else one masked call."""
        keys, values = cache_2BKTD[:, :, :, : self.end]
        if self.one:
            return F.scaled_dot_product_attention(query_BKGD, keys, values)
        if self.positions is None:
            seen_BT = torch.arange(self.end, device=keys.device) <= self.positions_B[:, None]
            return F.scaled_dot_product_attention(query_BKGD, keys, values, attn_mask=seen_BT[:, None, None])
        parts = [
            F.scaled_dot_product_attention(query_BKGD[rows], keys[rows, :, :end], values[rows, :, :end])
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


def _normed(x_NE: Tensor, epsilon: float) -> Tensor:
    """x divided by its root mean square (Zhang & Sennrich 2019), in float32; the gains are part of the next weights."""
    norms_N1 = torch.linalg.vector_norm(x_NE, dim=-1, keepdim=True, dtype=torch.float32)
    scales_N1: Tensor = norms_N1.square_().div_(x_NE.shape[-1]).add_(epsilon).rsqrt_()
    return x_NE * scales_N1.to(x_NE.dtype)


def _feed_forward(x_NE: Tensor, layer: Layer, epsilon: float) -> Tensor:
    gate, up = (_normed(x_NE, epsilon) @ layer.gate_up_Ex2F).chunk(2, dim=-1)
    return torch.addmm(x_NE, F.silu(gate, inplace=True).mul_(up), layer.down_FE)


def _rotate(heads_xHD: Tensor, rotation_xD2: Tensor) -> Tensor:
    """Neighbouring dimensions as complex numbers, turned by the angle of their position; computed in float32."""
    pairs = torch.view_as_complex(heads_xHD.float().view(*heads_xHD.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation_xD2).flatten(-2).to(heads_xHD.dtype)
