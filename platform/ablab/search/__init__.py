"""Studies: searches over recipe paths with Optuna, whose trials are recipes run by the runner."""

from ablab.search.spec import (
    Behind,
    Budget,
    Categorical,
    ClearlyWorse,
    Float,
    Hyperband,
    Integer,
    Median,
    NoPruning,
    Objective,
    RandomSampler,
    Study,
    StudyDesign,
    TpeSampler,
    Wilcoxon,
)

__all__ = [
    "Behind",
    "Budget",
    "Categorical",
    "ClearlyWorse",
    "Float",
    "Hyperband",
    "Integer",
    "Median",
    "NoPruning",
    "Objective",
    "RandomSampler",
    "Study",
    "StudyDesign",
    "TpeSampler",
    "Wilcoxon",
]
