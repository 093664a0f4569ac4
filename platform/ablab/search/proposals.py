"""Optuna's own parts of a study: what draws a new point, and what stops a trial early."""

from __future__ import annotations

from typing import Any

import optuna

from ablab.search.spec import Hyperband, Median, RandomSampler, Sampler, StudyDesign, Wilcoxon
from ablab.spec.canonical import digest


def sampler_of(sampler: Sampler, number: int) -> Any:
    """A sampler whose draws follow from the seed, the trial's number and the trials before it."""
    seed = int(digest([sampler.seed, number])[:8], 16)
    if isinstance(sampler, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=sampler.startup_trials)


def pruner_of(design: StudyDesign) -> Any:
    """Optuna's pruner, where one is declared."""
    match design.pruner, design.checkpoint_pruner:
        case Wilcoxon(p=p, after=after), _:
            return optuna.pruners.WilcoxonPruner(p_threshold=p, n_startup_steps=after)
        case _, Median(startup_trials=trials, after=after):
            return optuna.pruners.MedianPruner(n_startup_trials=trials, n_warmup_steps=after)
        case _, Hyperband(after=after, reduction=reduction):
            most = design.recipe.arm_schedule().steps
            return optuna.pruners.HyperbandPruner(min_resource=after, max_resource=most, reduction_factor=reduction)
    return optuna.pruners.NopPruner()
