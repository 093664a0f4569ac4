"""Which mixing ratio with which truncation? One objective, trials stopped early: at checkpoints, and by replicate."""

from __future__ import annotations

from ablab.search import Behind, Budget, ClearlyWorse, Objective, Study, StudyDesign, TpeSampler
from experiments.arms import PAPER, SMALL, SMOKE, TINY, Scale
from experiments.studies._spaces import base, fresh, ratio_truncation


def design(
    scale: Scale, cuts: tuple[int, ...], trials: int, startup: int, margin: float, fresh_replicates: int
) -> StudyDesign:
    """Perplexity on the validation split. A training that is far behind at half of its steps is stopped; the first
    replicate of a clearly worse trial is its only one."""
    return StudyDesign(
        recipe=base(scale),
        space=ratio_truncation(cuts),
        objectives=(Objective(metric="perplexity", direction="minimize"),),
        sampler=TpeSampler(seed=1, startup_trials=startup),
        pruner=ClearlyWorse(margin=margin, after=1),
        checkpoint_pruner=Behind(margin=10.0, after=scale.recipe.schedule.steps // 2),
        budget=Budget(trials=trials, hours=None, device_hours=None, failures_in_a_row=3),
        replicates=scale.pairs(),
        fresh=fresh(fresh_replicates),
    )


STUDY = Study(
    name="ratio-truncation",
    version=2,
    question="Which share of synthetic text with which truncation gives the lowest perplexity?",
    designs={
        "tiny": design(TINY, (20,), trials=3, startup=2, margin=5.0, fresh_replicates=2),
        "smoke": design(SMOKE, (20, 50), trials=8, startup=3, margin=2.0, fresh_replicates=2),
        "small": design(SMALL, (50, 100, 200), trials=40, startup=10, margin=2.0, fresh_replicates=3),
        "paper": design(PAPER, (50, 100, 200), trials=100, startup=20, margin=2.0, fresh_replicates=10),
    },
)
