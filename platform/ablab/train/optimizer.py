"""AdamW with its parameter groups, and the learning rate: linear warmup, then cosine to 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ablab.spec.recipe import Schedule


def parameter_groups(parameters: Iterable[tuple[str, torch.nn.Parameter]], schedule: Schedule) -> list[dict[str, Any]]:
    """Matrices decay; norm weights and the token embedding do not, unless `schedule.decay_norms`.

    A tied head is the embedding and follows it. The second group is left out when it would be empty.
    """
    decayed: list[torch.nn.Parameter] = []
    spared: list[torch.nn.Parameter] = []
    for name, parameter in parameters:
        spare = not schedule.decay_norms and (parameter.dim() == 1 or "embed_tokens" in name)
        (spared if spare else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": schedule.weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def learning_rate_factor(schedule: Schedule) -> Callable[[int], float]:
    """Factor of the learning rate for step s (from 0): (s + 1) / (w + 1) while s <= w, then the cosine that
    reaches 0 after the last step: (1 + cos(pi (s - w) / (steps - w))) / 2, with w = warmup_steps.
    """
    warmup, steps = schedule.warmup_steps, schedule.steps

    def factor(step: int) -> float:
        if step <= warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1.0 + math.cos(math.pi * (min(step, steps) - warmup) / (steps - warmup)))

    return factor


def adamw(parameters: Iterable[tuple[str, torch.nn.Parameter]], schedule: Schedule) -> torch.optim.AdamW:
    """torch's own fused AdamW (decoupled weight decay, Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(
        parameter_groups(parameters, schedule),
        lr=schedule.learning_rate,
        betas=(schedule.beta1, schedule.beta2),
        eps=schedule.epsilon,
        fused=True,
    )
