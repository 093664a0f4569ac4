"""Learning curves on the runs of arms, where MLflow draws the mean of an arm's replicates and their range."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from ablab.tracking.flatten import safe_name
from ablab.tracking.runs import Point
from ablab.tracking.stages import curves
from ablab.tracking.views import StageView

BINS = 60  # of a training's steps: single batches are too noisy to be seen, and too many to be sent for every arm
TRAIN, VALIDATION = "train_loss_nats", "validation_loss_nats"
LEARNING = (f"learning/{VALIDATION}", f"learning/{TRAIN}")


def score_names(stages: Iterable[StageView]) -> tuple[str, ...]:
    """Of the scores that learning curves of these stages hold: the aggregate of several suites first."""
    suites = dict.fromkeys(name for stage in stages if stage.kind == "curve" for name in stage.result["suites"])
    names = ["aggregate"] * (len(suites) > 1) + [f"score/{name}" for name in suites]
    return tuple(f"learning/{safe_name(name)}" for name in names)


def score_points(curve: StageView | None) -> tuple[Point, ...]:
    """Of a learning curve: what suites score at checkpoints, in %."""
    found = () if curve is None else curves(curve)
    return tuple(Point(f"learning/{p.name}", p.value, p.time_ms, p.step) for p in found)


def learning_points(training: StageView | None) -> tuple[Point, ...]:
    """Validation loss at every checkpoint, and training loss as means over at most 60 bins of steps."""
    if training is None:
        return ()
    points = [point for point in curves(training) if math.isfinite(point.value)]
    losses = [point for point in points if point.name == TRAIN]
    size = max(1, -(-len(losses) // BINS))
    bins = [losses[at : at + size] for at in range(0, len(losses), size)]
    means = [(one[-1], statistics.fmean(point.value for point in one)) for one in bins]
    judged = [(point, point.value) for point in points if point.name == VALIDATION]
    return tuple(Point(f"learning/{p.name}", value, p.time_ms, p.step) for p, value in (*judged, *means))
