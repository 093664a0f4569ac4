"""Differences task by task. A task is compared as a suite of its own would be, by the same statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ablab.analysis.paired import paired_effect
from ablab.analysis.report.material import TaskEffect
from ablab.analysis.results import ArmResults, ReplicateResult


def task_effects(arms: Sequence[ArmResults], rows: Sequence[Sequence[int]]) -> tuple[TaskEffect, ...]:
    """Of every arm behind the first, against the first, in every task of suites that have several.

    Suites whose items have no values are left out: a task of theirs is no unit of its own. rows: as `paired_effect`
    takes them.
    """
    control, *others = arms
    first = next((result for result in control.replicates if result is not None), None)
    if first is None:
        return ()
    found = []
    for suite, score in first.scores.items():
        if suite in first.without_items or len(score.tasks) < 2:
            continue
        for task in score.tasks:
            against = _of_task(control, suite, task)
            for arm in others:
                effect = paired_effect(_of_task(arm, suite, task), against, task, rows)
                if effect is not None:
                    found.append(TaskEffect(suite, score.group, effect))
    return tuple(found)


def _of_task(arm: ArmResults, suite: str, task: str) -> ArmResults:
    return ArmResults(arm.arm, tuple(r if r is None else _only(r, suite, task) for r in arm.replicates))


def _only(result: ReplicateResult, suite: str, task: str) -> ReplicateResult:
    """The result as if this task were a suite, and the only one."""
    columns = np.flatnonzero((result.suites == suite) & (result.tasks == task))
    score = result.scores[suite]
    alone = replace(score, score=score.tasks[task], tasks={task: score.tasks[task]}, sections={})
    return replace(
        result,
        items=result.items[columns],
        suites=np.full(len(columns), task),
        tasks=result.tasks[columns],
        clusters=result.clusters[columns],
        answers=result.answers[columns],
        scores={task: alone},
        without_items=frozenset(),
    )


def by_suite(tasks: Sequence[TaskEffect]) -> Iterator[tuple[str, list[TaskEffect]]]:
    """The differences of every suite, in stored order."""
    for suite in dict.fromkeys(one.suite for one in tasks):
        yield suite, [one for one in tasks if one.suite == suite]
