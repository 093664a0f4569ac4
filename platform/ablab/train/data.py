"""Which packed block is trained on when: a pure function of (seed, step). Pure numpy.

A block is a window of context + 1 tokens at a multiple of `context` in the stream, so all `context` positions of
the input have a target, and every token of a pool but its first is predicted once in a pass.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

PoolName = Literal["real", "synthetic"]


class BlockRef(NamedTuple):
    """One block of one pool."""

    pool: PoolName
    number: int


class BlockOrder:
    """After n blocks exactly floor(n x share + 1/2) are synthetic, for every share from 0 to 1 and every n.

    The share is taken as the decimal number that was declared (0.3 is 3/10, not the nearest binary fraction), in
    exact arithmetic. Each pool is visited in a new permutation every pass, drawn from (seed, pool, pass) alone.
    """

    def __init__(self, seed: int, real_blocks: int, synthetic_blocks: int, share: float) -> None:
        self.share = Fraction(repr(float(share)))
        if not 0 <= self.share <= 1:
            raise ValueError(f"share={share} must lie in [0, 1]")
        sizes: dict[PoolName, int] = {"real": real_blocks, "synthetic": synthetic_blocks}
        needed: dict[PoolName, bool] = {"real": self.share < 1, "synthetic": self.share > 0}
        for pool, size in sizes.items():
            if needed[pool] and size < 1:
                raise ValueError(f"{pool}_blocks={size} must be at least 1 at share={share}")
        self._seed = seed
        self._sizes = sizes
        self._permutations: dict[PoolName, tuple[int, NDArray[np.int64]]] = {}

    def synthetic_before(self, n: int) -> int:
        """How many of the first n blocks are synthetic: floor(n x share + 1/2)."""
        numerator, denominator = self.share.numerator, self.share.denominator
        return (2 * n * numerator + denominator) // (2 * denominator)

    def is_synthetic(self, n: int) -> bool:
        """Whether block n (from 0) of the whole training is synthetic."""
        return self.synthetic_before(n + 1) > self.synthetic_before(n)

    def block(self, n: int) -> BlockRef:
        """Block n (from 0) of the whole training."""
        synthetic = self.synthetic_before(n)
        if self.synthetic_before(n + 1) > synthetic:
            return self._draw("synthetic", synthetic)
        return self._draw("real", n - synthetic)

    def passes(self, pool: PoolName, blocks: int) -> float:
        """How often `blocks` blocks of a pool go through it; 0 for a pool that is not used."""
        return blocks / self._sizes[pool] if blocks else 0.0

    def _draw(self, pool: PoolName, position: int) -> BlockRef:
        number, place = divmod(position, self._sizes[pool])
        cached = self._permutations.get(pool)
        if cached is None or cached[0] != number:
            cached = (number, permutation(f"{self._seed}/{pool}/{number}", self._sizes[pool]))
            self._permutations[pool] = cached
        return BlockRef(pool, int(cached[1][place]))


def permutation(name: str, size: int) -> NDArray[np.int64]:
    """A permutation of range(size) that follows from `name`: int64 [size].

    Sorts raw Philox words, whose stream numpy never changes (its `permutation` may change between versions).
    """
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw(size)
    return np.argsort(words, kind="stable").astype(np.int64)


class Blocks:
    """A token stream as windows of context + 1 tokens."""

    def __init__(self, stream: NDArray[Any], context: int) -> None:
        self._stream = stream
        self._context = context

    def __len__(self) -> int:
        """Whole windows; what is left at the end is not used."""
        return max(0, (len(self._stream) - 1) // self._context)

    def window(self, index: int) -> NDArray[Any]:
        """Window `index` of the stream: [context + 1]."""
        start = index * self._context
        return self._stream[start : start + self._context + 1]

    def windows(self, first: int, stop: int) -> NDArray[np.int64]:
        """Windows first..stop-1: int64 [stop - first, context + 1]."""
        return np.stack([self.window(index) for index in range(first, stop)]).astype(np.int64)


class Batches:
    """The blocks of every training step."""

    def __init__(self, order: BlockOrder, pools: dict[PoolName, Blocks], blocks_per_step: int) -> None:
        self.order = order
        self._pools = pools
        self._blocks_per_step = blocks_per_step

    def step(self, step: int) -> NDArray[np.int64]:
        """The blocks of step `step` (from 0): int64 [blocks_per_step, context + 1]."""
        refs = self.refs(step, range(self._blocks_per_step))
        return np.stack([self._pools[ref.pool].window(ref.number) for ref in refs]).astype(np.int64)

    def refs(self, step: int, blocks: range) -> list[BlockRef]:
        """Where some blocks of step `step` (from 0) come from."""
        first = step * self._blocks_per_step
        return [self.order.block(first + n) for n in blocks]
