"""What a stage will cost, from its parameters alone: tokens, FLOPs, storage, seconds of one device.

FLOPs per trained token: 6 N + 12 L H T (`ablab.models.size`); a forward pass is a third of that.
Rates are assumptions near what was measured (docs/journal.md), and printed with every plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablab.models.size import model_size, training_flops
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Model
from ablab.spec.stages import Stage

FLOPS_PER_SECOND = {"cpu": 8.0e10, "cuda": 3.0e14}  # cpu: per thread, small models; cuda: one current data-centre GPU
TOKENS_PER_SECOND_OVERHEAD = {"cpu": 4.0e4, "cuda": 5.0e5}  # no stage runs faster than its loop
FIXED_SECONDS = {
    "corpus": 3.0,
    "tokenizer": 2.0,
    "tokens": 0.5,
    "suite": 0.5,
    "requests": 1.0,
    "manipulation": 1.0,
    "evaluate": 3.0,
    "curve": 0.1,
    "floor": 3.0,
}
TOKENS_OF_A_LOOK = 10_000  # a few hundred short texts; how many items there are is not known before


@dataclass(frozen=True)
class Estimate:
    """tokens seen or made, floating-point operations, bytes stored, seconds of one device."""

    tokens: float
    flops: float
    bytes: float
    seconds: float


def flops_per_token(model: Mapping[str, Any], vocab_size: int) -> float:
    """Of training; divide by 3 for a forward pass."""
    return training_flops(Model.model_validate(model), vocab_size, 1)


def estimate(stage: Stage, numerics: Numerics) -> Estimate:
    """Cost of one stage; what cannot be known before (a corpus of files) counts as its fixed seconds."""
    fixed = FIXED_SECONDS.get(stage.kind, 0.1)
    if stage.kind == "train":
        return _training(stage, numerics)
    if stage.kind == "generate":
        return _generation(stage, numerics)
    if stage.kind == "evaluate":
        train = stage.inputs["train"].params
        tokens = float(stage.params["test_tokens"])
        flops = tokens * flops_per_token(train["model"], train["vocab_size"]) / 3
        return Estimate(tokens, flops, 1e5, fixed + _seconds(tokens, flops, numerics))
    if stage.kind == "curve":  # spent while the training goes on, where it is computed with it
        train, looks = stage.inputs["train"].params, len(stage.params["steps"])
        tokens = float(looks * TOKENS_OF_A_LOOK)
        flops = tokens * flops_per_token(train["model"], train["vocab_size"]) / 3
        return Estimate(tokens, flops, 1e5, fixed * looks + _seconds(tokens, flops, numerics))
    return Estimate(0.0, 0.0, 1e5, fixed)


def _training(stage: Stage, numerics: Numerics) -> Estimate:
    schedule, model, vocab = stage.params["schedule"], stage.params["model"], stage.params["vocab_size"]
    steps = _steps(stage)
    tokens = float(steps * schedule["tokens_per_step"])
    checkpoints = steps // schedule["checkpoint_every"]
    held_out = float(checkpoints * schedule["validation_tokens"])
    per_token = flops_per_token(model, vocab)
    flops = tokens * per_token + held_out * per_token / 3
    size = _kept(stage, checkpoints) * 4.0 * model_size(Model.model_validate(model), vocab).total
    return Estimate(tokens, flops, size, 1.0 + _seconds(tokens, flops, numerics))


def _steps(stage: Stage) -> int:
    """Of a training that ends at a selected step: that step where it is declared, else at most the whole schedule."""
    steps: int = stage.params["schedule"]["steps"]
    if "until" not in stage.inputs:
        return steps
    rule = stage.inputs["until"].params["rule"]
    return int(rule["step"]) if rule["kind"] == "at-step" else steps


def _kept(stage: Stage, checkpoints: int) -> int:
    """How many checkpoints stay (`ablab.train.checkpoint`)."""
    if "until" in stage.inputs:
        return 1
    if "synthetic" not in stage.inputs:
        return checkpoints
    return min(2 + len(stage.params.get("keep", ())), checkpoints)


def _generation(stage: Stage, numerics: Numerics) -> Estimate:
    train = stage.inputs["good"].params
    tokens = float(stage.params["tokens"])
    prompts = stage.params["prompts"]
    models = 2 if stage.params["bad"] else 1
    processed = tokens * (1 + prompts["tokens"] / prompts["new_tokens"]) * models
    flops = processed * flops_per_token(train["model"], train["vocab_size"]) / 3
    size = processed / models * (2 if train["vocab_size"] <= 65_536 else 4) + tokens * 4
    # one token at a time reuses weights less than training does: a quarter of the rate
    return Estimate(tokens, flops, size, 1.0 + _seconds(4 * processed, 4 * flops, numerics))


def _seconds(tokens: float, flops: float, numerics: Numerics) -> float:
    device = "cuda" if numerics.device.startswith("cuda") else "cpu"
    rate = FLOPS_PER_SECOND[device] * (numerics.threads if device == "cpu" else 1)
    return max(flops / rate, tokens / TOKENS_PER_SECOND_OVERHEAD[device])
