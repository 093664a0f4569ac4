"""A Llama decoder for a fixed number of rows: caches are allocated once, then prompts and steps write into them.

Same function as transformers' `LlamaForCausalLM` (fp32: logits equal to 1e-4), arranged for decoding: projections are
fused and norms are scales alone (see `ablab.generate.layout`), residuals are added inside the projections, keys are
rotated into the cache. Rows may stand at different positions, since a row begins anew where its sequence ended.
"""

# B rows, R of them that begin, U prompts read, S their positions, N = U x S, T positions of the cache
# E hidden, H heads, K key/value heads, D head size, P = H x D, V vocabulary

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ablab.generate.dropout import AttentionDropout
from ablab.generate.forward import Stack, added, feed_forward, normed, product, rotate
from ablab.generate.layout import Weights
from ablab.generate.memory import zeros

READ_AT_ONCE = 4_096  # words of prompts


class Decoder:
    """Decodes `rows` sequences of at most `length` positions at a time.

    `read` computes prompts, `begin` puts them into rows in place of what was there, `step` adds a word to every row.
    Decoders may share their weights; each has a cache of its own, or a part of one that it is given.
    """

    def __init__(
        self,
        weights: Weights,
        rows: int,
        length: int,
        dropout: AttentionDropout | None = None,
        cache_L2BKTD: Tensor | None = None,
    ) -> None:
        self.weights, self.shape = weights, weights.shape
        self.rows, self.length, self.dropout = rows, length, dropout
        self.device = weights.embedding_VE.device
        self.cache_L2BKTD = empty_cache(weights, rows, length) if cache_L2BKTD is None else cache_L2BKTD
        self.stack = Stack((weights,), self.cache_L2BKTD)
        self.sequences_B = torch.zeros(rows, device=self.device, dtype=torch.int64)
        self.positions = [0] * rows
        """Words in the cache of each row; host numbers, so that no step waits for the device."""

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
        rotation_Sx1xD2 = self.stack.rotation_TxD2[:size, None]
        x_NE = self.weights.embedding_VE[prompts_US.flatten()]
        for index, (layer, read_2UKSD) in enumerate(zip(self.stack.layers, read_L2UKSD, strict=True)):
            qkv = product(normed(x_NE, self.shape.rms_eps), layer.qkv_MEP).view(prompts, size, -1, head)
            rotated = rotate(qkv[:, :, : heads + kv_heads], rotation_Sx1xD2).transpose(1, 2)
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
            x_NE = feed_forward(added(x_NE, attended_NP, layer.out_MxHDxE), layer, self.shape.rms_eps)

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
        self.check(words_B)
        logits_BV: Tensor = self.stack.step(words_B, self.positions, None if self.dropout is None else self._attend)[0]
        self.positions = [position + 1 for position in self.positions]
        return logits_BV

    def check(self, words_B: Tensor) -> None:
        """Raises `ValueError` where a step with these words does not fit."""
        if len(words_B) != self.rows or max(self.positions) >= self.length:
            raise ValueError(f"{len(words_B)} words must be rows={self.rows}, behind less than {self.length} positions")

    def _attend(self, query_BHD: Tensor, cache_2BKTD: Tensor, positions_B: Tensor, layer: int) -> Tensor:
        """With dropout: [B, H, 1, D]."""
        assert self.dropout is not None
        keys, values = cache_2BKTD
        return self.dropout.attend(query_BHD[:, :, None], keys, values, self.sequences_B, positions_B, layer)


class SecondDecoder(Decoder):
    """A model of another's shape, in the same cache behind its rows: `step_both` computes a step of the two at once.

    Each has the bits that it has alone, and can do alone what any decoder can.
    """

    def __init__(self, first: Decoder, weights: Weights, cache_L2NKTD: Tensor) -> None:
        """`cache_L2NKTD` has the rows of both, of which `first` has the first ones."""
        super().__init__(weights, first.rows, first.length, cache_L2BKTD=cache_L2NKTD[:, :, first.rows :])
        self.first, self.both = first, Stack((first.weights, weights), cache_L2NKTD)

    @torch.inference_mode()
    def step_both(self, words_B: Tensor) -> Tensor:
        """Logits [2, B, V] of the first and of this one behind one more word, as `step` of each gives them."""
        self.check(words_B)
        if self.first.positions != self.positions:
            raise ValueError("rows of models that are stepped at once must stand at the same positions")
        logits_2BV = self.both.step(words_B, self.positions)
        for decoder in (self.first, self):
            decoder.positions = [position + 1 for position in decoder.positions]
        return logits_2BV


def pair_of(
    good: Weights, bad: Weights | None, rows: int, length: int, dropout: AttentionDropout | None = None
) -> tuple[Decoder, Decoder | None]:
    """GOOD, and BAD where there is one. Of one shape and without dropout they are stepped at once."""
    if bad is None:
        return Decoder(good, rows, length), None
    if dropout is not None or good.shape != bad.shape:
        return Decoder(good, rows, length), Decoder(bad, rows, length, dropout)
    cache_L2NKTD = empty_cache(good, 2 * rows, length)
    first = Decoder(good, rows, length, cache_L2BKTD=cache_L2NKTD[:, :, :rows])
    return first, SecondDecoder(first, bad, cache_L2NKTD)


def step_models(good: Decoder, bad: Decoder | None, words_B: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits [B, V] of GOOD, and of BAD where there is one, behind one more word per row: at once where they can be."""
    if isinstance(bad, SecondDecoder):
        good_BV, bad_BV = bad.step_both(words_B)
        return good_BV, bad_BV
    return good.step(words_B), None if bad is None else bad.step(words_B)


def empty_cache(weights: Weights, rows: int, length: int) -> Tensor:
    """Keys and values [layers, 2, rows, K, length, D]."""
    shape = weights.shape
    size = (shape.layers, 2, rows, shape.kv_heads, length, shape.head_dim)
    return zeros(size, weights.embedding_VE.dtype, weights.embedding_VE.device)
