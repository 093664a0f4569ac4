"""Held-out loss: mean over all predicted tokens of the first blocks of the validation stream."""

from __future__ import annotations

from ablab.train.data import Blocks
from ablab.train.engine import Engine
from ablab.train.ranks import ALONE, Ranks


def validation_loss_nats(engine: Engine, stream: Blocks, blocks: int, rows: int, ranks: Ranks = ALONE) -> float:
    """Mean loss in nats over the first `blocks` blocks (context tokens are predicted in each), `rows` at a time.

    Ranks take turns. A turn without blocks is spent on the first ones, not counted: forward passes of a model whose
    weights are divided among the ranks need all of them.
    """
    total, predicted = 0.0, 0
    for turn in range(0, blocks, rows * ranks.size):
        first = turn + rows * ranks.rank
        if first < blocks:
            windows = stream.windows(first, min(first + rows, blocks))
            total += engine.loss_sum_nats(windows)
            predicted += windows[:, 1:].size
        else:
            engine.loss_sum_nats(stream.windows(0, 1))
    total, counted = ranks.total(total, predicted)
    return total / counted
