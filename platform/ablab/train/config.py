"""The DeepSpeed configuration of a training: generated from its settings, then what the user adds merged over it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ablab.errors import InputError, RunError
from ablab.train.settings import TrainSettings

UNBUILT = ("jit load", "building extension", "error compiling", "ninja is required")  # in what torch and DeepSpeed say

ALONE_BUCKET_ELEMENTS = 1 << 16
"""A gradient above this size is not copied to ZeRO's bucket."""


def deepspeed_config(settings: TrainSettings) -> dict[str, Any]:
    """JSON-like; follows from identity and numerics alone. What may be added: `ablab.spec.deepspeed`."""
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.zero_stage == 1 and settings.ranks == 1:
        # Gradients of one rank are their own sum: nothing to hand out, nothing to gather in a bucket but small ones.
        zero |= {"reduce_scatter": False, "reduce_bucket_size": ALONE_BUCKET_ELEMENTS}
    if settings.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": settings.device != "cpu"}
    generated = {
        "train_batch_size": settings.blocks_per_step,
        "train_micro_batch_size_per_gpu": settings.micro_batch,
        "gradient_accumulation_steps": settings.accumulation,
        "gradient_clipping": settings.schedule.clip_norm or 0.0,
        # Not one more look at every gradient: their norm is taken anyway, and the loop ends when it is not finite.
        # (Before 0.19.8 DeepSpeed reported 1 for the norm of a group that is not.)
        "bf16": {"enabled": settings.precision == "bf16", "check_grad_overflow": False},
        "zero_optimization": zero,
        # Offloading takes torch's fused AdamW too, as fast as DeepSpeed's own, which a compiler must build first.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }
    return _merged(generated, settings.deepspeed)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged name by name; anything else above replaces what is below."""
    return {**below} | {
        name: _merged(below[name], value) if isinstance(value, Mapping) and name in below else value
        for name, value in above.items()
    }


@contextmanager
def telling_what_is_wrong(settings: TrainSettings) -> Iterator[None]:
    """Turns DeepSpeed's refusal of a setting into an `InputError`, of building an operator into a `RunError`."""
    try:
        yield
    except (ValueError, TypeError, AssertionError, RuntimeError) as error:
        cause = " ".join(str(error).split())
        if any(sign in cause.lower() for sign in UNBUILT):
            raise RunError(
                f"DeepSpeed cannot build an operator that numerics.deepspeed asks for: {cause[:300]}",
                "install a C++ compiler, ninja and the operator's library (Debian: g++ ninja-build libaio-dev), "
                "or leave the setting out",
            ) from error
        if not settings.deepspeed:
            raise
        raise InputError(
            f"numerics.deepspeed={json.dumps(settings.deepspeed)}: DeepSpeed refuses it: {cause[:300]}; correct it"
        ) from error
