"""Attention with dropout of its weights after the softmax: the third family of BAD models.

Whether a weight is kept is a pure function of (seed, sequence, position, layer, head, key): a word of Philox4x32-10
(see `ablab.generate.draws`) with key = seed and counter = (position, sequence, key // 4, (layer + 1) 2^16 + head),
of whose four words the one at key mod 4 decides. The last word of a counter is never 0 as it is for the draws of words,
so no mask shares bits with a draw. Integers alone decide, so a CPU and a GPU drop the same weights.
"""

# B rows, S query positions, T keys, H heads, K key/value heads, D head size, C key blocks of four

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ablab.generate.draws import MULTIPLIERS, ROUNDS, WEYL

LOW_32: Final = 0xFFFFFFFF
MULTIPLIER_0, MULTIPLIER_1 = (int(multiplier) for multiplier in MULTIPLIERS)
LIMIT: Final = 1 << 22
"""Weights (query, key pairs over rows and heads) that are computed at once: 16 MiB in float32."""


@dataclass(frozen=True)
class AttentionDropout:
    """Drops each attention weight with probability `p` (to the nearest 2^-32) and divides the others by 1 - p."""

    p: float
    seed: int

    def attend(self, query_BSHD: Tensor, cache_2BKTD: Tensor, sequences_B: Tensor, layer: int) -> Tensor:
        """Causal attention of the last S of T positions to all T: [B, S, H, D].

        Works through the queries in parts, so that no temporary grows with the length of a prompt squared.
        """
        rows, new, heads, _ = query_BSHD.shape
        end = cache_2BKTD.shape[3]
        part = max(1, LIMIT // (rows * heads * end))
        parts = []
        for first in range(0, new, part):
            last = min(first + part, new)
            seen = end - new + last
            query = query_BSHD[:, first:last]
            parts.append(self._attend(query, cache_2BKTD[:, :, :, :seen], sequences_B, layer))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _attend(self, query_BSHD: Tensor, cache_2BKTD: Tensor, sequences_B: Tensor, layer: int) -> Tensor:
        rows, new, heads, size = query_BSHD.shape
        kv_heads, end = cache_2BKTD.shape[2], cache_2BKTD.shape[3]
        keys_BKTD, values_BKTD = cache_2BKTD
        # the G heads of one key/value head become G x S queries of it
        grouped = query_BSHD.view(rows, new, kv_heads, -1, size).permute(0, 2, 3, 1, 4).flatten(2, 3)
        scores_BHST = (grouped @ keys_BKTD.transpose(2, 3)).view(rows, heads, new, end).float()
        scores_BHST *= size**-0.5
        positions_S = torch.arange(end - new, end, device=query_BSHD.device)
        if new > 1:
            future_ST = torch.arange(end, device=query_BSHD.device) > positions_S[:, None]
            scores_BHST.masked_fill_(future_ST, -math.inf)
        weights_BHST = scores_BHST.softmax(dim=-1).to(query_BSHD.dtype)
        weights_BHST *= self.kept(sequences_B, positions_S, end, layer, heads)
        weights_BHST /= 1.0 - self.p
        attended: Tensor = weights_BHST.view(rows, kv_heads, -1, end) @ values_BKTD
        return attended.view(rows, heads, new, size).transpose(1, 2)

    def kept(self, sequences_B: Tensor, positions_S: Tensor, keys: int, layer: int, heads: int) -> Tensor:
        """bool [B, H, S, keys]: which attention weights of a layer are kept; int64 sequences and positions < 2^32."""
        device = sequences_B.device
        blocks_C = torch.arange(-(-keys // 4), device=device)
        domain_H = ((layer + 1) << 16) + torch.arange(heads, device=device)
        counter = (
            positions_S[:, None],
            sequences_B[:, None, None, None],
            blocks_C,
            domain_H[:, None, None],
        )
        threshold = round(self.p * 2**32)
        shape = (len(sequences_B), heads, len(positions_S), len(blocks_C))
        kept = [(word >= threshold).expand(shape) for word in philox(counter, self.seed)]
        return torch.stack(kept, dim=-1).flatten(-2)[..., :keys]  # four keys from each counter


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 as `ablab.generate.draws.philox`, in int64: products wrap, and their bits are those of uint64.

    The four words of a counter are broadcast as late as the rounds let them be.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key & LOW_32, (key >> 32) & LOW_32
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1
        c0, c1, c2, c3 = (
            ((product1 >> 32) & LOW_32) ^ c1 ^ k0,
            product1 & LOW_32,
            ((product0 >> 32) & LOW_32) ^ c3 ^ k1,
            product0 & LOW_32,
        )
        k0, k1 = (k0 + WEYL[0]) & LOW_32, (k1 + WEYL[1]) & LOW_32
    return c0, c1, c2, c3
