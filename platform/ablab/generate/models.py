"""Which checkpoints are GOOD and BAD, and whether they can be sampled from together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ablab.errors import RunError
from ablab.generate.text import Vocabulary
from ablab.generate.weights import Architecture, read_architecture
from ablab.spec.synthetic import AttentionDropout, Distribution, EarlyCheckpoint, Synthetic


@dataclass(frozen=True)
class Models:
    """The checkpoints to sample from. At strength 0 BAD is never touched: its three fields are None."""

    good: Path
    good_step: int
    bad: Path | None = None
    """BAD's checkpoint; None where it has none of its own."""
    bad_step: int | None = None
    """The step of the weights that BAD computes with."""
    dropout: float | None = None
    """With attention dropout, BAD is GOOD's checkpoint and this is p."""


def find_models(inputs: Mapping[str, Path], declared: Distribution) -> Models:
    """GOOD at its selected step, and BAD. An early BAD must be earlier (GOOD may be chosen at run time only)."""
    step = _selected(inputs["select"])
    good = _checkpoint(inputs["good"], "GOOD", step)
    bad, strength = declared.bad, declared.decoding.strength
    if strength == 0.0:
        return Models(good, step)
    if isinstance(bad, AttentionDropout):
        return Models(good, step, bad_step=step, dropout=bad.p)
    if isinstance(bad, EarlyCheckpoint):
        _check_earlier(bad.step, step)
        return Models(good, step, _checkpoint(inputs["good"], "BAD", bad.step), bad.step)
    if bad is None:
        raise RunError(f"decoding.strength={strength} needs a BAD model", "declare synthetic.bad")
    bad_step = _selected(inputs["bad_select"])
    return Models(good, step, _checkpoint(inputs["bad"], "BAD", bad_step), bad_step)


def _selected(select: Path) -> int:
    return int(json.loads((select / "result.json").read_text(encoding="utf-8"))["step"])


def _check_earlier(bad: int, good: int) -> None:
    if bad >= good:
        raise RunError(
            f"BAD's step {bad} must be earlier than GOOD's selected step {good}",
            "declare an earlier BAD step (synthetic.bad.step), or another good.selection",
        )


def _checkpoint(training: Path, role: str, step: int) -> Path:
    checkpoints = training / "checkpoints"
    folder = checkpoints / f"step-{step:08d}"
    if not folder.is_dir():
        known = ", ".join(str(int(path.name.removeprefix("step-"))) for path in sorted(checkpoints.glob("step-*")))
        raise RunError(f"{role}'s step {step} has no checkpoint; there are {known or 'none'}", "declare one of these")
    return folder


def check_shapes(models: Models, vocabulary: Vocabulary, synthetic: Synthetic) -> Architecture:
    """GOOD's shape. All faults of the combination are raised together, before any weight is read."""
    shapes = {"GOOD": read_architecture(models.good)}
    if models.bad is not None:
        shapes["BAD"] = read_architecture(models.bad)
    good_size = shapes["GOOD"].vocab_size
    length = synthetic.prompts.tokens + synthetic.prompts.new_tokens
    faults = []
    for role, shape in shapes.items():
        if shape.vocab_size != good_size:
            faults.append(f"{role}'s vocabulary has {shape.vocab_size} entries, GOOD's {good_size}; they must be one")
        if shape.vocab_size < vocabulary.size:
            faults.append(f"{role}'s vocabulary has {shape.vocab_size} entries, the tokenizer {vocabulary.size}")
        if shape.context < length:
            faults.append(
                f"{role}'s context of {shape.context} tokens is shorter than prompts.tokens={synthetic.prompts.tokens} "
                f"+ new_tokens={synthetic.prompts.new_tokens}; lower new_tokens"
            )
    if faults:
        raise RunError("\n".join(faults), "use models trained with this tokenizer and a sufficient model.context")
    return shapes["GOOD"]
