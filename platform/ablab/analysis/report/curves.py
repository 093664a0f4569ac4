"""Learning curves of the arms: losses from the `curves.jsonl` of their trainings, scores from their `curve` stages."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence

from ablab.analysis.curve import CurveResult, load_curve
from ablab.analysis.report.files import checked_bytes
from ablab.analysis.report.material import LearningCurves, Line, ScoreCurves
from ablab.store import Store
from ablab.store.executions import Roles

BINS = 60  # of a training's steps: single batches are too noisy to be seen
KINDS = ("aggregate", "group", "suite", "task")
Metric = tuple[str, str, str]
"""Kind, suite of a task, name."""
Series = Mapping[float, float]
"""Loss by tokens seen, or score by step."""


def learning_curves(arms: Sequence[str], roles: Roles, store: Store) -> LearningCurves:
    """Mean over the replicates of every arm with the range of them; a shared training counts once."""
    train: list[Line] = []
    validation: list[Line] = []
    for arm in arms:
        stages = dict.fromkeys(one["train"] for one in roles.get(arm, ()) if "train" in one)
        runs = [_read(key, store) for kind, key in stages if store.has(kind, key)]
        train += _line(arm, [run[0] for run in runs])
        validation += _line(arm, [run[1] for run in runs])
    return LearningCurves(tuple(train), tuple(validation), tuple(_score_curves(arms, roles, store)))


def _score_curves(arms: Sequence[str], roles: Roles, store: Store) -> Iterator[ScoreCurves]:
    """The aggregate, groups, suites, and the tasks of suites that have several."""
    found: dict[str, list[dict[Metric, Series]]] = {}
    chances: dict[str, float | None] = {}
    for arm in arms:
        stages = dict.fromkeys(one["curve"] for one in roles.get(arm, ()) if "curve" in one)
        looks = [load_curve(store.directory(*stage)) for stage in stages if store.has(*stage)]
        found[arm] = [_scores(one) for one in looks]
        chances |= {name: suite.chance for one in looks for name, suite in one.suites.items()}
    metrics = dict.fromkeys(metric for runs in found.values() for one in runs for metric in one)
    for metric in sorted(metrics, key=lambda metric: KINDS.index(metric[0])):
        kind, suite, name = metric
        lines = [
            line for arm, runs in found.items() for line in _line(arm, [one[metric] for one in runs if metric in one])
        ]
        yield ScoreCurves(name, kind, suite, chances.get(suite or name), tuple(lines))


def _scores(look: CurveResult) -> dict[Metric, Series]:
    groups: dict[str, list[str]] = {}
    for name, suite in look.suites.items():
        groups.setdefault(suite.group, []).append(name)
    scores = {name: suite.scores for name, suite in look.suites.items()}
    over = {("aggregate", "", "aggregate"): list(scores)} if len(scores) > 1 else {}
    over |= {("group", "", group): names for group, names in groups.items()}
    over |= {("suite", "", name): [name] for name in scores}
    found: dict[Metric, Series] = {
        metric: {
            float(step): statistics.fmean(scores[name][at] for name in names) for at, step in enumerate(look.steps)
        }
        for metric, names in over.items()
    }
    for name in scores:
        if not look.judged(name):
            continue
        means = [look.means(at, name) for at in range(len(look.steps))]
        for task in means[0] if len(means[0]) > 1 else ():
            found["task", name, task] = {float(step): mean[task] for step, mean in zip(look.steps, means, strict=True)}
    return found


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
