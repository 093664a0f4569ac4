"""What a training is told: its hashed parameters, and numerics worked out for this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from ablab.errors import InputError
from ablab.models.size import compiling_pays, training_flops
from ablab.spec.base import build
from ablab.spec.placement import Numerics, training_faults
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
    stop: int
    """Step after which the training ends: `schedule.steps`, or a checkpoint before it that was selected elsewhere.
    The learning rates are those of the whole schedule."""
    ends_early: bool
    """`stop` was selected elsewhere (it may be the last step all the same)."""
    keep: tuple[int, ...]
    """Checkpoints of a mixture that are kept beside the best and the last."""
    threads: int
    device: str
    ranks: int
    """Processes that share the blocks of every step."""
    micro_batch: int
    """Blocks per forward pass of a rank: the largest divisor of its blocks per step that is not above the wish."""
    evaluation_rows: int
    zero_stage: int
    offload_optimizer: bool
    activation_checkpointing: bool
    compiled: bool
    """Layers and loss are compiled (`ablab.train.compiled`)."""
    deepspeed: Mapping[str, JsonValue]
    """What the user adds to the generated DeepSpeed configuration."""

    @property
    def blocks_per_step(self) -> int:
        return self.schedule.tokens_per_step // self.model.context

    @property
    def blocks_per_rank(self) -> int:
        """Of every step."""
        return self.blocks_per_step // self.ranks

    @property
    def accumulation(self) -> int:
        """Forward passes of a rank per optimizer step."""
        return self.blocks_per_rank // self.micro_batch

    def numerics(self) -> dict[str, Any]:
        """What a resume state must have been begun with to be continued bit by bit."""
        unusual = {
            "stop": self.stop if self.ends_early else None,
            "ranks": self.ranks if self.ranks > 1 else None,
            "offload_optimizer": self.offload_optimizer,
            "activation_checkpointing": self.activation_checkpointing,
            "compiled": self.compiled,
            "deepspeed": self.deepspeed,
        }
        return {name: value for name, value in unusual.items() if value} | {
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
    ranks = numerics.ranks or 1
    blocks = schedule.tokens_per_step // model.context // ranks
    stop, keep = _stop(ctx, schedule), tuple(int(step) for step in params.get("keep", ()))
    faults = [*_faults(model, schedule, params["precision"], numerics), *_step_faults(schedule, stop, keep)]
    if faults:
        raise InputError(faults)
    return TrainSettings(
        model=model,
        vocab_size=int(params["vocab_size"]),
        schedule=schedule,
        precision=params["precision"],
        seed=int(params["train_seed"]),
        share=float(params["share"]),
        stop=stop,
        ends_early="until" in ctx.inputs,
        keep=keep,
        threads=max(1, numerics.threads // ranks),
        device=numerics.device,
        ranks=ranks,
        micro_batch=max(d for d in range(1, min(blocks, numerics.micro_batch) + 1) if blocks % d == 0),
        evaluation_rows=numerics.evaluation_rows,
        zero_stage=_zero_stage(params["precision"], numerics),
        offload_optimizer=numerics.offload_optimizer,
        activation_checkpointing=numerics.activation_checkpointing,
        compiled=_compiled(model, int(params["vocab_size"]), stop * schedule.tokens_per_step, numerics),
        deepspeed=numerics.deepspeed,
    )


def _stop(ctx: StageContext, schedule: Schedule) -> int:
    """The step that `until` selected, else the last one."""
    if "until" not in ctx.inputs:
        return schedule.steps
    return int(json.loads((ctx.inputs["until"] / "result.json").read_text(encoding="utf-8"))["step"])


def _step_faults(schedule: Schedule, stop: int, keep: tuple[int, ...]) -> Iterator[str]:
    """The end and what is kept are checkpoints of this schedule."""
    every, steps = schedule.checkpoint_every, schedule.steps
    for name, step in (("the step that until selected", stop), *(("keep", step) for step in keep)):
        if step != steps and (not 0 < step < steps or step % every):
            yield (
                f"{name}: {step} must be a checkpoint of this training: a multiple of checkpoint_every={every} up to "
                f"schedule.steps={steps}; select one of these"
            )


def _zero_stage(precision: str, numerics: Numerics) -> int:
    if numerics.zero_stage is not None:
        return numerics.zero_stage
    return 1 if precision == "bf16" or numerics.offload_optimizer else 0


def _compiled(model: Model, vocab_size: int, tokens: int, numerics: Numerics) -> bool:
    """Where weights are divided among ranks (ZeRO stage 3), layers are not compiled."""
    pays = compiling_pays(training_flops(model, vocab_size, tokens), numerics.device)
    return numerics.compile == "always" or (numerics.compile == "long" and pays and numerics.zero_stage != 3)


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
    return [*faults, *training_faults(numerics, schedule.tokens_per_step, model.context, precision)]
