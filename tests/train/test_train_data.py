"""Laws of the order in which blocks are trained on."""

from __future__ import annotations

import decimal
from decimal import ROUND_FLOOR, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablab.train.data import Batches, BlockOrder, Blocks, PoolName, permutation

shares = st.one_of(
    st.floats(0.0, 1.0, allow_nan=False, width=64),
    st.integers(0, 1000).map(lambda n: n / 1000),
    st.sampled_from([0.0, 5e-324, 0.1, 0.3, 1 / 3, 0.5, 0.7, 0.9, 1 - 2**-53, 1.0]),
)


def declared_synthetic(n: int, share: float) -> int:
    """floor(n x share + 1/2) in decimal arithmetic wide enough to be exact."""
    with decimal.localcontext() as context:
        context.prec = 2000
        return int((n * Decimal(repr(share)) + Decimal("0.5")).to_integral_value(ROUND_FLOOR))


@given(shares, st.integers(0, 10**9))
def test_after_n_blocks_the_rounded_share_is_synthetic(share: float, n: int) -> None:
    assert BlockOrder(1, 5, 5, share).synthetic_before(n) == declared_synthetic(n, share)


@given(shares, st.integers(1, 400))
def test_counted_blocks_keep_the_share_at_every_prefix(share: float, n: int) -> None:
    order = BlockOrder(3, 7, 4, share)
    count = 0
    for block in range(n):
        count += order.block(block).pool == "synthetic"
        assert order.is_synthetic(block) == (order.block(block).pool == "synthetic")
        assert count == declared_synthetic(block + 1, share)


def test_shares_zero_and_one_use_one_pool_only() -> None:
    assert {BlockOrder(1, 3, 0, 0.0).block(n).pool for n in range(50)} == {"real"}
    assert {BlockOrder(1, 0, 3, 1.0).block(n).pool for n in range(50)} == {"synthetic"}


def test_a_declared_half_is_a_half_at_ties() -> None:
    # 5 x 0.3 + 0.5 is exactly 2; with the nearest binary fraction of 0.3 the floor would be 1.
    assert BlockOrder(1, 5, 5, 0.3).synthetic_before(5) == 2


@given(st.integers(-(2**70), 2**70), st.integers(1, 40), st.integers(1, 40), shares)
def test_every_pass_visits_every_block_of_a_pool_once(seed: int, real: int, synthetic: int, share: float) -> None:
    order = BlockOrder(seed, real, synthetic, share)
    drawn: dict[str, list[int]] = {"real": [], "synthetic": []}
    for n in range(3 * (real + synthetic)):
        block = order.block(n)
        drawn[block.pool].append(block.number)
    for pool, size in (("real", real), ("synthetic", synthetic)):
        for first in range(0, len(drawn[pool]) - size + 1, size):
            assert sorted(drawn[pool][first : first + size]) == list(range(size))


@given(st.integers(0, 300), shares)
def test_order_is_a_pure_function_of_seed_and_position(n: int, share: float) -> None:
    visited = BlockOrder(11, 13, 6, share)
    for earlier in range(0, n, 7):
        visited.block(earlier)
    assert visited.block(n) == BlockOrder(11, 13, 6, share).block(n)


def test_seeds_pools_and_passes_have_permutations_of_their_own() -> None:
    names = ["1/real/0", "1/real/1", "1/synthetic/0", "2/real/0"]
    found = {tuple(permutation(name, 50).tolist()) for name in names}
    assert len(found) == len(names)


def test_permutation_is_pinned() -> None:
    # A change here changes every training: bump the revision of the stage kind `train`.
    assert permutation("42/real/0", 8).tolist() == [2, 3, 7, 4, 0, 6, 5, 1]


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_share_outside_the_unit_interval_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        BlockOrder(1, 5, 5, share)


@pytest.mark.parametrize(("real", "synthetic", "pool"), [(0, 5, "real"), (5, 0, "synthetic")])
def test_an_empty_pool_that_is_needed_is_refused(real: int, synthetic: int, pool: str) -> None:
    with pytest.raises(ValueError, match=f"{pool}_blocks=0"):
        BlockOrder(1, real, synthetic, 0.5)


@given(st.integers(0, 100), st.integers(1, 9))
def test_windows_predict_every_token_of_their_blocks_once(size: int, context: int) -> None:
    blocks = Blocks(np.arange(size, dtype=np.uint16), context)
    targets = [int(token) for index in range(len(blocks)) for token in blocks.window(index)[1:]]
    assert targets == list(range(1, len(blocks) * context + 1))
    assert size - 1 - len(targets) < context


def test_batches_hold_the_windows_of_the_order() -> None:
    real, synthetic = np.arange(50, dtype=np.uint16), np.arange(100, 140, dtype=np.uint16)
    pools: dict[PoolName, Blocks] = {"real": Blocks(real, 4), "synthetic": Blocks(synthetic, 4)}
    order = BlockOrder(5, len(pools["real"]), len(pools["synthetic"]), 0.4)
    batches = Batches(order, pools, blocks_per_step=5)
    for step in range(6):
        blocks = batches.step(step)
        assert blocks.shape == (5, 5)
        assert blocks.dtype == np.int64
        for row, n in enumerate(range(5 * step, 5 * step + 5)):
            ref = order.block(n)
            assert blocks[row].tolist() == pools[ref.pool].window(ref.number).tolist()
