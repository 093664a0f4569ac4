"""A small study without synthetic text, which is cheap to run."""

from __future__ import annotations

from typing import Any

from ablab.search import Budget, Float, NoPruning, Objective, RandomSampler, StudyDesign
from ablab.spec import Replicate
from experiments.scales import tiny


def small_design(**changes: Any) -> StudyDesign:
    """Learning rates of the tiny control recipe."""
    fields: dict[str, Any] = {
        "recipe": tiny(),
        "space": {"schedule.learning_rate": Float(low=1e-3, high=1e-2, log=True)},
        "objectives": (Objective(metric="perplexity", direction="minimize"),),
        "sampler": RandomSampler(seed=1),
        "pruner": NoPruning(),
        "budget": Budget(trials=3, hours=None, device_hours=None, failures_in_a_row=2),
        "replicates": (Replicate(train_seed=1, generation_seed=1),),
        "fresh": (Replicate(train_seed=8, generation_seed=8), Replicate(train_seed=9, generation_seed=9)),
    }
    return StudyDesign.model_validate(fields | changes)
