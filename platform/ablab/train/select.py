"""`select`: which checkpoint of a training is used, by its held-out loss or its step. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ablab.errors import InputError, did_you_mean
from ablab.store.context import StageContext

RULES = ("lowest-validation-loss", "at-step", "last-step")


def select(ctx: StageContext) -> dict[str, Any]:
    """The stage: `step`, `validation_loss_nats` and `rule` of the checkpoint that `params["rule"]` names.

    Raises InputError when the training keeps no checkpoint at the declared step.
    """
    result = json.loads((ctx.inputs["train"] / "result.json").read_text(encoding="utf-8"))
    rule = ctx.params["rule"]
    chosen = choose(rule, result["checkpoints"])
    return {
        "step": chosen["step"],
        "validation_loss_nats": chosen["validation_loss_nats"],
        "rule": rule["kind"],
    }


def choose(rule: Mapping[str, Any], checkpoints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The chosen entry of a training's `checkpoints`; of equal losses the earliest."""
    in_order = sorted(checkpoints, key=lambda checkpoint: int(checkpoint["step"]))
    if rule["kind"] == "lowest-validation-loss":
        return min(in_order, key=lambda checkpoint: float(checkpoint["validation_loss_nats"]))
    if rule["kind"] == "last-step":
        return in_order[-1]
    if rule["kind"] == "at-step":
        return _at_step(int(rule["step"]), in_order)
    raise InputError(f"selection rule {rule['kind']!r} is not known; {did_you_mean(str(rule['kind']), RULES)}")


def _at_step(step: int, checkpoints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    for checkpoint in checkpoints:
        if checkpoint["step"] == step:
            return checkpoint
    kept = ", ".join(str(checkpoint["step"]) for checkpoint in checkpoints)
    raise InputError(
        f"selection at-step: step={step} must be a kept checkpoint of this training; it keeps {kept} "
        "(a training with synthetic text keeps the last, the one with the lowest validation loss and those declared); "
        "choose one of these or another rule"
    )
