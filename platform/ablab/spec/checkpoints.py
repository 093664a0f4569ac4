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
        return {"good": _of_good(stage.inputs["select"], stage.params["bad"])}
    if stage.kind == "manipulation":
        declared = enumerate(stage.params["distributions"])
        return {f"good_{at}": _of_good(stage.inputs[f"select_{at}"], one["bad"]) for at, one in declared}
    return {}


def _of_good(select: Stage, bad: Mapping[str, Any] | None) -> set[int]:
    """Of GOOD's training, which may be that of an early BAD as well."""
    steps = _declared(select.params)
    return steps | {bad["step"]} if bad is not None and bad["kind"] == "early-checkpoint" else steps


def _declared(select: Mapping[str, Any]) -> set[int]:
    rule = select["rule"]
    return {rule["step"]} if rule["kind"] == "at-step" else set()
