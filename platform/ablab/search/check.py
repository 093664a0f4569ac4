"""What is wrong with a study's design: every fault as 'rule, value, remedy', all of them together. Reads no file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ablab.errors import InputError, did_you_mean
from ablab.search.points import choice_labels
from ablab.search.spec import (
    BLOCK,
    VALIDATION_LOSS,
    AtCheckpoints,
    Behind,
    Categorical,
    NoPruning,
    Range,
    StudyDesign,
    Wilcoxon,
)
from ablab.spec.canonical import canonical_json, plain
from ablab.spec.check import recipe_faults
from ablab.spec.edit import dump, edit, paths
from ablab.spec.metrics import AGGREGATE, metrics_of, suite_groups
from ablab.spec.recipe import Recipe
from ablab.spec.suites import RIGHT_OR_WRONG, BabyLMSuite, LmEvalTasks, MicroworldSuites

JUDGED_BY = ("corpus", "tokenizer", "evaluation", "precision", "schedule.validation_tokens")
"""Paths that change what a trial is judged by, or that make two trials no longer comparable."""

WITHOUT_RIGHT_ANSWERS = ("wug", "eye-tracking", "self-paced-reading")

PACE = (
    "schedule",
    "schedule.steps",
    "schedule.tokens_per_step",
    "schedule.checkpoint_every",
    "mixture",
    "mixture.hold",
)
"""Paths that change what a step is, how many there are, or when their loss is measured."""


def study_faults(design: StudyDesign, where: str) -> list[str]:
    """Every fault of the base, the space, the objectives, pruning and replicates."""
    faults = [f"recipe: {fault}" for fault in recipe_faults(design.recipe)]
    faults += _space_faults(design)
    faults += _objective_faults(design)
    faults += _multiple_faults(design)
    faults += _pruner_faults(design)
    faults += _checkpoint_faults(design)
    faults += _replicate_faults(design)
    return [f"{where}: {fault}" for fault in faults]


def _space_faults(design: StudyDesign) -> Iterator[str]:
    known = paths(dump(design.recipe))
    for path, range_ in design.space.items():
        where = f"space: {path}"
        if any(path == root or path.startswith(f"{root}.") for root in JUDGED_BY):
            yield f"{where} changes what trials are judged by, so they could not be compared; search other paths"
        above = [other for other in design.space if path.startswith(f"{other}.")]
        if above:
            yield f"{where} lies in {above[0]}, which is searched as well; search one of the two"
        shape = list(_range_faults(range_))
        yield from (f"{where}: {fault}" for fault in shape)
        if path not in known:
            yield from (f"{where}: {fault}" for fault in _path_faults(design.recipe, path))
        elif not shape:
            yield from (f"{where}: {fault}" for fault in _limit_faults(design.recipe, path, range_))


def _path_faults(recipe: Recipe, path: str) -> list[str]:
    """Why the path is none of the recipe's."""
    try:
        edit(recipe, {path: None})
    except InputError as error:
        return [fault.removeprefix(f"{path}: ") for fault in error.faults]
    return [f"no such path; {did_you_mean(path, paths(dump(recipe)))}"]


def _range_faults(range_: Range) -> Iterator[str]:
    if isinstance(range_, Categorical):
        yield from _choice_faults(range_)
        return
    ends = (range_.low, range_.high)
    if not all(math.isfinite(end) for end in ends):
        yield f"low={range_.low}, high={range_.high} must be finite; give numbers"
        return
    if range_.low >= range_.high:
        yield f"the range is empty: low={range_.low} must be less than high={range_.high}"
    if range_.log and range_.low <= 0:
        yield f"low={range_.low} must be above 0 for a logarithmic range; raise it, or leave out log"
    if range_.log and range_.step not in (None, 1):
        yield f"step={range_.step} and log=True exclude each other; leave out one of them"
    elif range_.step is not None and range_.low < range_.high and range_.step > range_.high - range_.low:
        yield f"step={range_.step} is longer than the range from {range_.low} to {range_.high}; lower it"


def _choice_faults(range_: Categorical) -> Iterator[str]:
    try:
        texts = [canonical_json(plain(choice, f"choices[{i}]")) for i, choice in enumerate(range_.choices)]
        labels = [canonical_json(label) for label in choice_labels(range_)]
    except InputError as error:
        yield from error.faults
        return
    if len(texts) < 2:
        yield f"choices={texts[0]} is a single value; give two, or edit the base recipe"
    if len(set(labels)) < len(labels):
        twice = sorted({text for text, label in zip(texts, labels, strict=True) if labels.count(label) > 1})
        yield f"choices holds {', '.join(twice)} twice; remove one"


def _limit_faults(recipe: Recipe, path: str, range_: Range) -> Iterator[str]:
    """Ends and choices that the recipe does not take, each tried alone on the base."""
    ends: list[tuple[str, Any]]
    if isinstance(range_, Categorical):
        ends = [(f"choice {canonical_json(choice)}", choice) for choice in range_.choices]
    else:
        ends = [(f"low={range_.low}", range_.low), (f"high={range_.high}", range_.high)]
    before = set(recipe_faults(recipe))
    for name, value in ends:
        try:
            found = [fault for fault in recipe_faults(edit(recipe, {path: value})) if fault not in before]
        except InputError as error:
            found = list(error.faults)
        yield from (f"{name} is outside the recipe's limits: {fault}" for fault in found)


def _objective_faults(design: StudyDesign) -> Iterator[str]:
    known = metrics_of(design.recipe)
    for metric in design.metrics:
        if metric not in known:
            yield f"objective {metric!r} is not measured by any suite; {did_you_mean(metric, known)}"
    for metric in sorted({m for m in design.metrics if design.metrics.count(m) > 1}):
        yield f"objective {metric!r} is listed twice; remove one"
    for suite in design.recipe.evaluation.suites:
        least = 2 * BLOCK
        if isinstance(suite, LmEvalTasks) and suite.metric not in RIGHT_OR_WRONG:
            yield (
                f"evaluation.suites: {suite.name} is judged by {suite.metric}, which is not right or wrong by document "
                f"and cannot be divided into selection and final data; name one of {', '.join(RIGHT_OR_WRONG)}, or "
                "leave the suite out"
            )
        field = "limit" if isinstance(suite, LmEvalTasks) else "items_per_task"
        taken = getattr(suite, field)
        if taken is not None and taken < least:
            name = "microworld" if isinstance(suite, MicroworldSuites) else suite.name
            yield (
                f"evaluation.suites: {field}={taken} of {name} must be at least {least}, so that "
                "every task has selection and final items; raise it"
            )


def _multiple_faults(design: StudyDesign) -> Iterator[str]:
    for name, pruner in (("pruner", design.pruner), ("checkpoint_pruner", design.checkpoint_pruner)):
        if len(design.objectives) > 1 and not isinstance(pruner, NoPruning):
            yield (
                f"{name} {pruner.kind!r}: a study with {len(design.objectives)} objectives cannot prune, because no "
                f"one value says which trial is worse; set {name}=NoPruning()"
            )


def _pruner_faults(design: StudyDesign) -> Iterator[str]:
    pruner, count = design.pruner, len(design.replicates)
    if isinstance(pruner, NoPruning):
        return
    if count == 1:
        yield f"pruner {pruner.kind!r} compares replicates, and there is one; add replicates, or set pruner=NoPruning()"
    elif pruner.after >= count:
        yield f"pruner.after={pruner.after} must be less than the {count} replicates, or nothing is ever stopped"
    if isinstance(pruner, Wilcoxon) and pruner.p < 0.5 ** (count - 1):
        yield (
            f"pruner.p={pruner.p} cannot be reached before the last of {count} replicates (p is at least "
            f"{0.5 ** (count - 1):g}); raise it, add replicates, or use ClearlyWorse"
        )


def _checkpoint_faults(design: StudyDesign) -> Iterator[str]:
    pruner, schedule = design.checkpoint_pruner, design.recipe.arm_schedule()
    if isinstance(pruner, NoPruning):
        return
    yield from _look_faults(design.recipe, pruner)
    lengthening = {"mixture.share"} if design.recipe.mixture.hold != "compute" else set()
    for path in sorted(design.space.keys() & {*PACE, *lengthening}):
        yield (
            f"checkpoint_pruner {pruner.kind!r}: {path} is searched, so that trials could not be compared at equal "
            "steps; set checkpoint_pruner=NoPruning(), or search other paths"
        )
    curve = design.recipe.evaluation.curve
    every = schedule.checkpoint_every if pruner.is_loss or curve is None else curve.every
    last = (schedule.steps - 1) // every * every
    if last == 0:
        yield (
            f"checkpoint_pruner {pruner.kind!r}: {pruner.metric} is measured every {every} steps and training ends at "
            f"{schedule.steps}, so nothing is ever stopped; measure more often, or set checkpoint_pruner=NoPruning()"
        )
    elif pruner.after > last:
        yield (
            f"checkpoint_pruner.after={pruner.after} must be at most {last}, the last checkpoint before the end of "
            f"{schedule.steps} steps at which it is measured, or nothing is ever stopped"
        )
    if isinstance(design.pruner, Wilcoxon) and not isinstance(pruner, Behind):
        yield (
            f"checkpoint_pruner {pruner.kind!r} excludes pruner 'wilcoxon': Optuna keeps one row of values per trial, "
            "by step or by replicate; use Behind for checkpoints, or ClearlyWorse for replicates"
        )


def _look_faults(recipe: Recipe, pruner: AtCheckpoints) -> Iterator[str]:
    """A metric of suites is scored at checkpoints, and every answer to it is right or wrong."""
    curve, where = recipe.evaluation.curve, f"checkpoint_pruner.metric={pruner.metric!r}"
    if pruner.is_loss:
        return
    if curve is None:
        yield (
            f"{where} is measured at checkpoints only where the recipe has a learning curve; declare evaluation.curve, "
            f"or use metric={VALIDATION_LOSS!r}"
        )
        return
    groups = {s: g for s, g in suite_groups(recipe).items() if curve.suites is None or s in curve.suites}
    known = [VALIDATION_LOSS, *groups, *dict.fromkeys(groups.values()), AGGREGATE]
    if pruner.metric not in known:
        yield f"{where} is not scored by evaluation.curve; {did_you_mean(pruner.metric, known)}"
    unjudged = {
        s.name for s in recipe.evaluation.suites if isinstance(s, BabyLMSuite) and s.task in WITHOUT_RIGHT_ANSWERS
    }
    for suite in groups:
        if suite in unjudged and pruner.metric in (suite, groups[suite], AGGREGATE):
            yield (
                f"{where}: answers of {suite} are neither right nor wrong, so its curve cannot be divided into "
                f"selection and final data; name another metric, or leave {suite} out of evaluation.curve.suites"
            )


def _replicate_faults(design: StudyDesign) -> Iterator[str]:
    for name, replicates in (("replicates", design.replicates), ("fresh", design.fresh)):
        if len(set(replicates)) < len(replicates):
            yield f"{name}: a replicate is listed twice; every replicate needs seeds of its own"
    for field in ("train_seed", "generation_seed"):
        shared = sorted(_seeds(design.replicates, field) & _seeds(design.fresh, field))
        if shared:
            listed = ", ".join(map(str, shared))
            yield f"fresh: {field} {listed} is searched with as well, so it is not fresh; give other seeds"


def _seeds(replicates: Sequence[Any], field: str) -> set[int]:
    return {getattr(replicate, field) for replicate in replicates}
