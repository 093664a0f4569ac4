"""The least time that a step of contrastive decoding can take on a machine, from what it must read and compute.

Counted, per step, with B rows at length t, for GOOD and BAD together:

- bytes: every weight once (but of the embedding only the rows looked up), keys and values of all live cache positions
  once (B x t x layers x 2 x hidden), the new ones written, logits written and read once (float32);
- operations: 2 per weight and row, 4 per live position, layer and hidden dimension (scores and weighted values).

Activations, norms and the drawing of words are not counted, nor prompts: they are work that a perfect program hides.
A step takes at least max(bytes / bandwidth, operations / matrix rate); the bound is the mean over all steps. Both rates
are measured on the spot: a copy of a large array (read and written), and a large matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from experiments.benchmarks.setting import Setting


@dataclass(frozen=True)
class Machine:
    """Measured rates."""

    bytes_per_s: float
    operations_per_s: float

    @classmethod
    def measured(cls, device: str, precision: str, clock: Callable[[], float]) -> Machine:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        big, side = (2**31, 8_192) if device == "cuda" else (2**28, 2_048)
        source = torch.ones(big // 4, device=device)
        target = torch.empty_like(source)
        matrix = torch.randn(side, side, device=device).to(dtype)
        product = torch.empty_like(matrix)
        return cls(
            bytes_per_s=2 * 4 * len(source) / _fastest(lambda: target.copy_(source), device, clock),
            operations_per_s=2 * side**3 / _fastest(lambda: torch.mm(matrix, matrix, out=product), device, clock),
        )


def bound(machine: Machine, setting: Setting) -> dict[str, float]:
    """Tokens per second that no program can exceed, and what it is made of (means per step)."""
    size = 2 if setting.precision == "bf16" else 4
    weights = setting.layers * (4 * setting.hidden**2 + 3 * setting.hidden * setting.ffn)
    weights += setting.hidden * setting.vocab_size
    per_position = setting.layers * 2 * setting.hidden
    seconds, read, done = 0.0, 0.0, 0.0
    for step in range(setting.new_tokens):
        positions = setting.rows * (setting.prompt + step)
        moved = 2 * (
            size * (weights + per_position * (positions + setting.rows)) + 8 * setting.rows * setting.vocab_size
        )
        operations = 2 * (2 * weights * setting.rows + 2 * per_position * positions)
        seconds += max(moved / machine.bytes_per_s, operations / machine.operations_per_s)
        read, done = read + moved, done + operations
    return {
        "tokens_per_s": setting.rows * setting.new_tokens / seconds,
        "bytes_per_step": read / setting.new_tokens,
        "operations_per_step": done / setting.new_tokens,
    }


def _fastest(action: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(8):
        began = clock()
        action()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - began)
    return min(times)
