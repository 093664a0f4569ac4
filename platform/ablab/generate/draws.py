"""Counter-based uniforms: the draw of a position is a pure function of (seed, sequence, position).

Philox4x32 with 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): key = seed, counter =
(position, sequence, 0). No state exists, so no draw can depend on batch composition, order, shards or resumption.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]

LOW_32: Final = np.uint64(0xFFFFFFFF)
SHIFT_32: Final = np.uint64(32)
MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
ROUNDS: Final = 10


def uniforms(seed: int, sequences: npt.ArrayLike, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Float64 in [0, 1) with 53 random bits, of the broadcast shape of `sequences` and `positions`.

    `seed` counts modulo 2^64, `sequences` below 2^64, `positions` below 2^32; all are counted from 0.
    """
    sequence, position = np.broadcast_arrays(np.asarray(sequences, np.uint64), np.asarray(positions, np.uint64))
    counter = (position & LOW_32, sequence & LOW_32, sequence >> SHIFT_32, np.zeros_like(sequence))
    first, second, _, _ = philox(counter, seed)
    bits = ((first << SHIFT_32) | second) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def philox(counter: tuple[UInts, UInts, UInts, UInts], key: int) -> tuple[UInts, UInts, UInts, UInts]:
    """Philox4x32-10: four 32-bit words (held as uint64) for each counter of four such words, under a 64-bit key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> SHIFT_32) ^ c1 ^ np.uint64(k0),
            product1 & LOW_32,
            (product0 >> SHIFT_32) ^ c3 ^ np.uint64(k1),
            product0 & LOW_32,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3
