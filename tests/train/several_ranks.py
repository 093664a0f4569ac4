"""Trains some models one after another; a script that a test starts, once or in several processes.

Arguments: a JSON file `{"inputs", "trainings": [{"params", "numerics", "work", "out"}]}`, and for a process that is one
of several ranks its number, how many there are and the file to meet at. Each result is written to `out/result.json`. A
training with `stop_after` is ended in all ranks behind the checkpoint of that step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ablab.spec.placement import Numerics
from ablab.store.context import Measured, StageContext, silent
from ablab.train.rank import join
from ablab.train.stage import train, train_as


def trainer() -> Callable[[StageContext], dict[str, Any]]:
    """What trains: this process as one rank, or as the parent of as many as the numerics ask for."""
    if len(sys.argv) == 2:
        return train
    rank, size, meeting = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    group = join(rank, size, meeting, "cpu")
    return lambda ctx: train_as(group, ctx)


class Stopped(Exception):
    """Ends a training from outside."""


def stopping_after(last: int | None) -> Measured:
    """All ranks hear of a checkpoint behind its resume state."""

    def measured(step: int, values: Mapping[str, float]) -> None:
        if step == last and values:
            raise Stopped

    return measured


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    train_one = trainer()
    for entry in plan["trainings"]:
        ctx = StageContext(
            key="0" * 64,
            params=entry["params"],
            inputs={name: Path(path) for name, path in plan["inputs"].items()},
            locations={},
            out=Path(entry["out"]),
            work=Path(entry["work"]),
            numerics=Numerics.model_validate(entry["numerics"]),
            progress=silent,
            costs={},
            measured=stopping_after(entry.get("stop_after")),
        )
        try:
            result = train_one(ctx)
        except Stopped:
            continue
        if ctx.out.joinpath("curves.jsonl").exists():
            (ctx.out / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
