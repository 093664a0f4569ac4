"""Which checkpoints of a training a stage reads, as far as that follows from declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablab.spec.stages import Stage


def steps_needed(stage: Stage) -> dict[str, set[int]]:
    """Declared steps that `stage` reads, by the name of the input (a training) that must hold them.

    The last step and the one with the lowest validation loss are kept of every training and are never listed.
    """
    if stage.kind == "evaluate":
        return {"train": _declared(stage.inputs["select"].params)}
    if stage.kind == "curve":
        return {"train": set(stage.params["steps"])}
    if stage.kind == "generate":
        steps = _declared(stage.inputs["select"].params)
        bad = stage.params["bad"] or {}
        return {"good": steps | ({bad["step"]} if bad.get("kind") == "early-checkpoint" else set())}
    return {}


def _declared(select: Mapping[str, Any]) -> set[int]:
    rule = select["rule"]
    return {rule["step"]} if rule["kind"] == "at-step" else set()
