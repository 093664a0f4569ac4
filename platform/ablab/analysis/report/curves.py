"""Learning curves of the arms, from the `curves.jsonl` of their trainings."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence

from ablab.analysis.report.files import checked_bytes
from ablab.analysis.report.material import LearningCurves, Line
from ablab.store import Store
from ablab.store.executions import Roles

BINS = 60  # of a training's steps: single batches are too noisy to be seen
Series = Mapping[float, float]
"""Loss by tokens seen."""


def learning_curves(arms: Sequence[str], roles: Roles, store: Store) -> LearningCurves:
    """Mean over the replicates of every arm with the range of them; a shared training counts once."""
    train: list[Line] = []
    validation: list[Line] = []
    for arm in arms:
        stages = dict.fromkeys(one["train"] for one in roles.get(arm, ()) if "train" in one)
        runs = [_read(key, store) for kind, key in stages if store.has(kind, key)]
        train += _line(arm, [run[0] for run in runs])
        validation += _line(arm, [run[1] for run in runs])
    return LearningCurves(tuple(train), tuple(validation))


def _read(key: str, store: Store) -> tuple[Series, Series]:
    """Training loss in bins of steps, and validation loss at checkpoints."""
    text = checked_bytes(store, "train", key, "curves.jsonl").decode("utf-8")
    steps = [json.loads(line) for line in text.splitlines() if line]
    size = max(1, -(-len(steps) // BINS))
    bins = [steps[at : at + size] for at in range(0, len(steps), size)]
    train = {float(b[-1]["tokens"]): statistics.fmean(s["train_loss_nats"] for s in b) for b in bins}
    judged = {float(s["tokens"]): float(s["validation_loss_nats"]) for s in steps if "validation_loss_nats" in s}
    return train, judged


def _line(arm: str, runs: Sequence[Series]) -> list[Line]:
    """At the places that all runs have; nothing without one."""
    if not runs:
        return []
    x = sorted(set(runs[0]).intersection(*runs[1:]))
    values = [[run[at] for run in runs] for at in x]
    if not x:
        return []
    mean = tuple(statistics.fmean(v) for v in values)
    return [Line(arm, tuple(x), mean, tuple(map(min, values)), tuple(map(max, values)), len(runs))]
