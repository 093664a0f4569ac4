"""Held-out loss: mean over all predicted tokens of the first blocks of the validation stream."""

from __future__ import annotations

from ablab.train.data import Blocks
from ablab.train.engine import Engine


def validation_loss_nats(engine: Engine, stream: Blocks, blocks: int, rows: int) -> float:
    """Mean loss in nats over the first `blocks` blocks (context tokens are predicted in each), `rows` at a time."""
    total, predicted = 0.0, 0
    for first in range(0, blocks, rows):
        windows = stream.windows(first, min(first + rows, blocks))
        total += engine.loss_sum_nats(windows)
        predicted += windows[:, 1:].size
    return total / predicted
