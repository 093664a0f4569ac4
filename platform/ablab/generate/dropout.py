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

    def attend(
        self,
        query_BHSD: Tensor,
        keys_BKTD: Tensor,
        values_BKTD: Tensor,
        sequences_B: Tensor,
        positions_B: Tensor | None,
        layer: int,
    ) -> Tensor:
        """Attention of a prompt to itself, where `positions_B` is None and T = S; else of one query per row, at its
        position, to the keys up to it: [B, H, S, D].

        Works through the queries in parts, so that no temporary grows with the length of a prompt squared.
        """
        rows, heads, new, _ = query_BHSD.shape
        end = keys_BKTD.shape[2]
        if positions_B is None:
            positions_BS = torch.arange(new, device=sequences_B.device).expand(rows, new)
        else:
            positions_BS = positions_B[:, None]
        part = max(1, LIMIT // (rows * heads * end))
        parts = [
            self._attend(
                query_BHSD[:, :, first : first + part],
                keys_BKTD,
                values_BKTD,
                self.kept(sequences_B, positions_BS[:, first : first + part], end, layer, heads),
                positions_BS[:, first : first + part],
            )
            for first in range(0, new, part)
        ]
        return torch.cat(parts, dim=2)

    def _attend(
        self, query_BHSD: Tensor, keys_BKTD: Tensor, values_BKTD: Tensor, kept_BHST: Tensor, positions_BS: Tensor
    ) -> Tensor:
        rows, heads, new, size = query_BHSD.shape
        kv_heads, end = keys_BKTD.shape[1:3]
        # the G heads of one key/value head become G x S queries of it
        grouped = query_BHSD.reshape(rows, kv_heads, -1, size)
        scores_BHST = (grouped @ keys_BKTD.transpose(2, 3)).view(rows, heads, new, end).float()
        scores_BHST *= size**-0.5
        future_BST = torch.arange(end, device=positions_BS.device) > positions_BS[:, :, None]
        scores_BHST.masked_fill_(future_BST[:, None], -math.inf)
        weights_BHST = scores_BHST.softmax(dim=-1).to(query_BHSD.dtype)
        weights_BHST *= kept_BHST
        weights_BHST /= 1.0 - self.p
        attended: Tensor = weights_BHST.view(rows, kv_heads, -1, end) @ values_BKTD
        return attended.view(rows, heads, new, size)

    def kept(self, sequences_B: Tensor, positions_BS: Tensor, keys: int, layer: int, heads: int) -> Tensor:
        """bool [B, H, S, keys]: which attention weights of a layer are kept; int64 sequences and positions < 2^32."""
        device = sequences_B.device
        blocks_C = torch.arange(-(-keys // 4), device=device)
        domain_H = ((layer + 1) << 16) + torch.arange(heads, device=device)
        counter = (
            positions_BS[:, None, :, None],
            sequences_B[:, None, None, None],
            blocks_C,
            domain_H[:, None, None],
        )
        threshold = round(self.p * 2**32)
        shape = (len(sequences_B), heads, positions_BS.shape[1], len(blocks_C))
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
