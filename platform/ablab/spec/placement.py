"""`Placement`: numerics and execution only; never part of a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from ablab.spec.base import Positive, Spec
from ablab.spec.deepspeed import deepspeed_faults

DEVICE = re.compile(r"cpu|cuda(:(0|[1-9][0-9]{0,2}))?")


def check_device(value: str) -> str:
    """A device by its name in torch, of the two kinds that ablab runs on."""
    if not DEVICE.fullmatch(value):
        raise ValueError(f"device {value!r} must be 'cpu', 'cuda' or 'cuda:<n>', for example 'cuda:0'")
    return value


class Numerics(Spec):
    """Changes results within rounding. Recorded in every manifest; a resumed stage reuses what it began with."""

    threads: Positive = 1
    """CPU threads of the process that computes the stage."""
    micro_batch: Positive = 32
    """Sequences per forward pass in training; lowered to a divisor of a step's sequences."""
    decoder_rows: Positive | Literal["auto"] = 128
    """Sequences decoded together; also the size of a shard, which is padded to it. 'auto' measures what is fastest."""
    generation_threads: Positive | None = None
    """CPU threads of each process that generates; None for `threads`."""
    evaluation_rows: Positive = 64
    """Sequences scored together."""
    ranks: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Processes that train one model together, each with a part of every step; `threads` are divided among them.
    None for 1, or what a resumed training began with; a number that is given holds for a resumed one too."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] | None = None
    """ZeRO stage; None for 0 in fp32 and 1 in bf16 or with `offload_optimizer`."""
    offload_optimizer: bool = False
    """The optimizer's state and its step on the CPU (ZeRO-Offload); needs a ZeRO stage of at least 1."""
    activation_checkpointing: bool = False
    """Activations of a layer are computed again in the backward pass: less memory, about a third more time."""
    compile: Literal["never", "long", "always"] = "never"
    """Which trainings have their layers compiled: those that are long enough for it to pay, all, or none. When a run
    starts and nothing is said: long ones, where a C++ compiler is there."""
    deepspeed: dict[str, JsonValue] = Field(default_factory=dict)
    """Merged over the DeepSpeed configuration that is generated; what the recipe or other numerics say is refused."""
    device: Annotated[str, AfterValidator(check_device)] = "cpu"
    """'cpu', 'cuda' or 'cuda:<n>'; set from what is there when a run starts."""

    def continued(self, wanted: Numerics) -> Numerics:
        """These, with which a stage began, for going on with it: its ranks change where they are given."""
        return self if wanted.ranks is None else self.model_copy(update={"ranks": wanted.ranks})


class Placement(Spec):
    """How a run is carried out."""

    jobs: Positive = 1
    """Stages computed at once, each by a long-lived worker process."""
    generation_workers: Positive = 1
    """Processes that decode one corpus together, each with `numerics.generation_threads`, or a GPU of its own."""
    hostfile: str | None = None
    """Path of a hostfile (`name slots=n` lines): trainings are spread over these machines by DeepSpeed's launcher."""
    numerics: Numerics = Numerics()


def training_faults(numerics: Numerics, tokens_per_step: int, context: int, precision: str) -> Iterator[str]:
    """Why a training of this shape cannot be placed so."""
    blocks, ranks = tokens_per_step // context, numerics.ranks or 1
    if blocks % ranks:
        divisor = max(d for d in range(1, min(blocks, ranks) + 1) if blocks % d == 0)
        yield (
            f"numerics.ranks={ranks} must divide the {blocks} blocks of a step (schedule.tokens_per_step="
            f"{tokens_per_step} / model.context={context}); try ranks={divisor}"
        )
    if ranks > 1 and ":" in numerics.device:
        yield (
            f"numerics.device={numerics.device!r} is one device, but numerics.ranks={ranks} need one each; "
            "use device=cuda"
        )
    if precision == "bf16" and numerics.zero_stage == 0:
        # DeepSpeed 0.19 steps the optimizer on zero gradients while it sets it up there: Adam's bias correction is off.
        yield "numerics.zero_stage=0 trains differently in bf16; use 1, 2, 3 or null"
    if numerics.compile == "always" and numerics.zero_stage == 3:
        yield "numerics.compile=always needs whole weights, but numerics.zero_stage=3 divides them; use compile=long"
    if numerics.offload_optimizer and numerics.zero_stage == 0:
        yield "numerics.offload_optimizer needs ZeRO, but numerics.zero_stage=0; use 1, 2, 3 or null"
    yield from deepspeed_faults(numerics.deepspeed)
