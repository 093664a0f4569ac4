"""What does a lower perplexity cost in reasoning? Two objectives, whose trade-off is a Pareto front."""

from __future__ import annotations

from ablab.search import Budget, NoPruning, Objective, Study, StudyDesign, TpeSampler
from experiments.arms import PAPER, SMALL, SMOKE, TINY, Scale
from experiments.studies._spaces import base, fresh, ratio_truncation


def design(scale: Scale, cuts: tuple[int, ...], trials: int, startup: int, fresh_replicates: int) -> StudyDesign:
    """Perplexity against the reasoning group. Nothing is stopped early: no one value says which trial is worse."""
    return StudyDesign(
        recipe=base(scale),
        space=ratio_truncation(cuts),
        objectives=(
            Objective(metric="perplexity", direction="minimize"),
            Objective(metric="reasoning", direction="maximize"),
        ),
        sampler=TpeSampler(seed=1, startup_trials=startup),
        pruner=NoPruning(),
        budget=Budget(trials=trials, hours=None, device_hours=None, failures_in_a_row=3),
        replicates=scale.pairs(),
        fresh=fresh(fresh_replicates),
    )


STUDY = Study(
    name="perplexity-reasoning",
    version=2,
    question="Which mixtures trade perplexity for reasoning best?",
    designs={
        "tiny": design(TINY, (20,), trials=3, startup=2, fresh_replicates=2),
        "smoke": design(SMOKE, (20, 50), trials=4, startup=2, fresh_replicates=2),
        "small": design(SMALL, (50, 100, 200), trials=40, startup=10, fresh_replicates=3),
        "paper": design(PAPER, (50, 100, 200), trials=100, startup=20, fresh_replicates=10),
    },
)
