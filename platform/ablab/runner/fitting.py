"""Before a run: the largest micro-batch of its trainings for which a step fits the memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ablab.errors import RunError
from ablab.runner.plan import Plan, PlannedStage
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics


@dataclass(frozen=True)
class Fitting:
    """What was found for the trainings of one shape."""

    title: str
    """Of the first of them."""
    micro_batch: int | None
    """None where not even one block fits."""
    blocks: int
    """Of a step."""


def fitting_micro_batches(plan: Plan, numerics: Numerics) -> Iterator[Fitting]:
    """Try a step of every shape of training that is to be computed, each in a process of its own."""
    shapes: dict[str, PlannedStage] = {}
    for planned in plan.todo():
        if planned.stage.kind == "train":
            params = planned.stage.params
            shape = digest([params["model"], params["vocab_size"], params["schedule"], params["precision"]])
            shapes.setdefault(shape, planned)
    for planned in shapes.values():
        yield _tried(planned, numerics)


def _tried(planned: PlannedStage, numerics: Numerics) -> Fitting:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump({"params": dict(planned.stage.params), "numerics": numerics.model_dump()}, file)
        file.flush()
        command = [sys.executable, "-P", "-m", "ablab.train.probe", numerics.device, str(Path(file.name))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    found = json.loads(last) if last.startswith("{") else {}
    if "micro_batch" not in found:
        cause = found.get("fault") or (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RunError(f"{planned.title}: no step could be tried: {cause}", "ablab doctor")
    return Fitting(planned.title, found["micro_batch"], found["blocks"])
