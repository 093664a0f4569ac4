"""What a training is told: its hashed parameters, and numerics worked out for this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ablab.errors import InputError
from ablab.spec.base import build
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model, Schedule
from ablab.store.context import StageContext


@dataclass(frozen=True)
class TrainSettings:
    """Everything a training depends on but its data."""

    model: Model
    vocab_size: int
    schedule: Schedule
    precision: Literal["fp32", "bf16"]
    seed: int
    share: float
    threads: int
    device: str
    micro_batch: int
    """Blocks per forward pass: the largest divisor of blocks_per_step that is not above the wish."""
    evaluation_rows: int
    zero_stage: int

    @property
    def blocks_per_step(self) -> int:
        return self.schedule.tokens_per_step // self.model.context

    @property
    def accumulation(self) -> int:
        """Forward passes per optimizer step."""
        return self.blocks_per_step // self.micro_batch

    def numerics(self) -> dict[str, Any]:
        """What a resume state must have been begun with to be continued bit by bit."""
        return {
            "threads": self.threads,
            "device": self.device,
            "micro_batch": self.micro_batch,
            "evaluation_rows": self.evaluation_rows,
            "zero_stage": self.zero_stage,
        }


def read_settings(ctx: StageContext) -> TrainSettings:
    """Settings of a stage; an InputError names every fault."""
    params, numerics = ctx.params, ctx.numerics
    model = build(Model, params["model"], "model")
    schedule = build(Schedule, params["schedule"], "schedule")
    blocks = schedule.tokens_per_step // model.context
    faults = list(_faults(model, schedule, params["precision"], numerics))
    if faults:
        raise InputError(faults)
    return TrainSettings(
        model=model,
        vocab_size=int(params["vocab_size"]),
        schedule=schedule,
        precision=params["precision"],
        seed=int(params["train_seed"]),
        share=float(params["share"]),
        threads=numerics.threads,
        device=numerics.device,
        micro_batch=max(d for d in range(1, min(blocks, numerics.micro_batch) + 1) if blocks % d == 0),
        evaluation_rows=numerics.evaluation_rows,
        zero_stage=_zero_stage(params["precision"], numerics),
    )


def _zero_stage(precision: str, numerics: Numerics) -> int:
    if numerics.zero_stage is not None:
        return numerics.zero_stage
    return 1 if precision == "bf16" else 0


def _faults(model: Model, schedule: Schedule, precision: str, numerics: Numerics) -> list[str]:
    faults = []
    if schedule.tokens_per_step % model.context:
        faults.append(
            f"schedule.tokens_per_step={schedule.tokens_per_step} must be a multiple of model.context={model.context}"
        )
    if schedule.steps % schedule.checkpoint_every:
        faults.append(
            f"schedule.steps={schedule.steps} must be a multiple of checkpoint_every={schedule.checkpoint_every}"
        )
    if schedule.validation_tokens < model.context:
        faults.append(
            f"schedule.validation_tokens={schedule.validation_tokens} must be at least model.context={model.context}"
        )
    if precision == "bf16" and numerics.zero_stage == 0:
        # DeepSpeed 0.19 steps the optimizer on zero gradients while it sets it up there: Adam's bias correction is off.
        faults.append("numerics.zero_stage=0 trains differently in bf16; use 1, 2 or null")
    return faults
