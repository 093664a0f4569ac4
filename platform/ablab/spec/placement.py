"""`Placement`: numerics and execution only; never part of a key."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ablab.spec.base import Positive, Spec


class Numerics(Spec):
    """Changes results within rounding. Recorded in every manifest; a resumed stage reuses what it began with."""

    threads: Positive = 1
    """CPU threads of the process that computes the stage."""
    micro_batch: Positive = 32
    """Sequences per forward pass in training; lowered to a divisor of a step's sequences."""
    decoder_rows: Positive = 128
    """Sequences decoded together; also the size of a shard, which is padded to it."""
    evaluation_rows: Positive = 64
    """Sequences scored together."""
    zero_stage: Annotated[int, Field(ge=0, le=2)] | None = None
    """ZeRO stage; None for 0 in fp32 and 1 in bf16."""
    device: str = "cpu"
    """'cpu' or 'cuda'; set from what is there when a run starts."""


class Placement(Spec):
    """How a run is carried out."""

    jobs: Positive = 1
    """Stages computed at once, each by a long-lived worker process."""
    numerics: Numerics = Numerics()
