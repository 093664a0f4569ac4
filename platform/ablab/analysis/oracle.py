"""The study's own checkpoint rule, for its numbers to be set beside ours: the best step on the suites themselves.

The study (Ulm, Du & Snaebjarnarson 2025) takes of 16 checkpoints the best for every task and seed, by the very scores
that it then reports. The maximum of noisy scores is too high, for every arm, and by more where scores move more from
checkpoint to checkpoint; so such a difference speaks of training noise too. It is labelled, kept apart from everything
with held-out selection (`comparable`), and no verdict rests on it.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ablab.analysis.comparable import check_comparable
from ablab.analysis.comparison import Oracle, OracleEffect, Score
from ablab.analysis.curve import CurveResult
from ablab.analysis.paired import item_changes
from ablab.analysis.results import ArmResults, ReplicateResult, SuiteScore
from ablab.analysis.study import bootstrap, relative_change
from ablab.analysis.weighing import weighing
from ablab.spec.metrics import AGGREGATE

Pair = tuple[ReplicateResult, ReplicateResult]


def best_of(curve: CurveResult, judged: ReplicateResult) -> ReplicateResult:
    """Every suite at its best step (the first of equals), as if one model had these scores.

    `judged` is the same replicate with held-out selection; how its suites are scored is known there.
    """
    steps = {name: int(np.argmax(suite.scores)) for name, suite in curve.suites.items()}
    at_I = np.array([steps[name] for name in curve.of_suite.tolist()], dtype=np.int64)
    scores: dict[str, SuiteScore] = {}
    for name, suite in curve.suites.items():
        known = judged.scores[name]
        best = suite.scores[steps[name]]
        tasks = curve.means(steps[name], name) if curve.judged(name) else dict.fromkeys(known.tasks, best)
        scores[name] = SuiteScore(best, suite.group, suite.chance, tasks, known.metric, known.sections)
    return replace(
        judged,
        directory=curve.directory,
        items=curve.items,
        suites=curve.of_suite,
        tasks=curve.tasks,
        clusters=curve.clusters,
        answers=curve.correct[at_I, np.arange(len(at_I))].astype(np.float64),
        scores=scores,
        step=None,
        selection="oracle",
        without_items=curve.unjudged,
    )


def oracle(
    arms: Sequence[ArmResults],
    curves: Mapping[str, Sequence[CurveResult | None]],
    control: str,
    declared: Sequence[str],
    official: Collection[str],
) -> Oracle | None:
    """Of every arm against the control, where both have a learning curve; None where no arm has one.

    Args:
        arms: with held-out selection.
        curves: by arm, by replicate position.
        control: the arm that others are compared with.
        declared: suites in the order of the tables.
        official: suites that are BabyLM's own.
    """
    both = {arm.arm: list(zip(curves.get(arm.arm, ()), arm.replicates, strict=False)) for arm in arms}
    best = {
        name: ArmResults(name, tuple(best_of(c, r) if c is not None and r is not None else None for c, r in pairs))
        for name, pairs in both.items()
        if any(c is not None and r is not None for c, r in pairs)
    }
    present = [result for arm in best.values() for result in arm.replicates if result is not None]
    if not present:
        return None
    check_comparable([(str(result.directory), result) for result in present])
    steps = {c.steps for pairs in both.values() for c, r in pairs if c is not None and r is not None}
    suites = [suite for suite in declared if suite in present[0].scores]
    studied = [suite for suite in suites if suite in official]  # a curve may be over some suites alone
    others = [arm for arm in best.values() if arm.arm != control] if control in best else []
    held = {
        name: ArmResults(name, tuple(None if c is None or r is None else on_items_of(c, r) for c, r in pairs))
        for name, pairs in both.items()
    }
    relative = [relative_change(arm, best[control], suites, studied) for arm in others]
    return Oracle(
        steps=max(steps, key=len),
        scores=tuple(_score(arm, suite) for arm in best.values() for suite in suites),
        effects=tuple(
            effect for arm in others for effect in _effects(arm, best[control], held[arm.arm], held[control], suites)
        ),
        relative=tuple(one for one in relative if one is not None),
        notes=tuple(_notes(both, suites)),
    )


def on_items_of(curve: CurveResult, judged: ReplicateResult) -> ReplicateResult:
    """The same replicate with held-out selection, scored on the items that the curve looked at.

    Suites without right answers keep the score of all their items.
    """
    kept = np.isin(judged.items, curve.items)
    scores = dict(judged.scores)
    for name in curve.suites:
        if curve.judged(name):
            here = {task: judged.answers[kept & _is_task(judged, name, task)] for task in scores[name].tasks}
            tasks = {task: 100.0 * float(answers.mean()) for task, answers in here.items()}
            weights = scores[name].task_weights()
            total = sum(weight * tasks[task] for task, weight in weights.items())
            scores[name] = replace(scores[name], score=total, tasks=tasks)
    return replace(judged, scores=scores)


def _is_task(result: ReplicateResult, suite: str, task: str) -> NDArray[np.bool_]:
    return np.asarray((result.suites == suite) & (result.tasks == task), dtype=np.bool_)


def _notes(
    both: Mapping[str, Sequence[tuple[CurveResult | None, ReplicateResult | None]]], suites: Sequence[str]
) -> Iterator[str]:
    pairs = {name: [(c, r) for c, r in several if c is not None and r is not None] for name, several in both.items()}
    looks = {name: sorted({len(c.steps) for c, _ in several}) for name, several in pairs.items() if several}
    if len({count for counts in looks.values() for count in counts}) > 1:
        listed = ", ".join(f"{name} {' or '.join(map(str, counts))}" for name, counts in looks.items())
        yield f"the best of more checkpoints is higher, and these were looked at: {listed}; do not compare them"
    every = [pair for several in pairs.values() for pair in several]
    shortened = [
        suite
        for suite in suites
        if any(not c.judged(suite) and (c.of_suite == suite).sum() < (r.suites == suite).sum() for c, r in every)
    ]
    if shortened:
        yield f"of {', '.join(shortened)} the curves hold the first items of every task, and 'held-out' all"


def _score(arm: ArmResults, suite: str) -> Score:
    values = tuple(None if result is None else result.scores[suite].score for result in arm.replicates)
    known = [value for value in values if value is not None]
    spread = statistics.stdev(known) if len(known) > 1 else None
    return Score(arm.arm, suite, values, statistics.fmean(known), spread)


def _effects(
    arm: ArmResults, against: ArmResults, held: ArmResults, held_against: ArmResults, suites: Sequence[str]
) -> Iterator[OracleEffect]:
    every = zip(arm.replicates, against.replicates, held.replicates, held_against.replicates, strict=True)
    chosen: list[Pair] = []
    judged: list[Pair] = []
    for one, other, held_one, held_other in every:
        if one is not None and other is not None and held_one is not None and held_other is not None:
            chosen.append((one, other))
            judged.append((held_one, held_other))
    if not chosen:
        return
    for metric in [*suites, *([AGGREGATE] if len(suites) > 1 else [])]:
        over = suites if metric == AGGREGATE else [metric]
        low, high = _study_interval(chosen, metric)
        yield OracleEffect(arm.arm, against.arm, metric, _mean(chosen, over), low, high, _mean(judged, over))


def _mean(pairs: Sequence[Pair], suites: Sequence[str]) -> float:
    """Mean difference over suites and replicates, in points."""
    return statistics.fmean(one.scores[s].score - other.scores[s].score for one, other in pairs for s in suites)


def _study_interval(pairs: Sequence[Pair], metric: str) -> tuple[float | None, float | None]:
    how = weighing(pairs[0][0], metric)
    if not how.right_or_wrong:
        return None, None
    return bootstrap([item_changes([pair], how.columns) for pair in pairs], how.starts, how.weights)
