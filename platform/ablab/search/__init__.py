"""Studies: searches over recipe paths with Optuna, whose trials are recipes run by the runner."""

from ablab.search.spec import (
    Budget,
    Categorical,
    ClearlyWorse,
    Float,
    Integer,
    NoPruning,
    Objective,
    RandomSampler,
    Study,
    StudyDesign,
    TpeSampler,
    Wilcoxon,
)

__all__ = [
    "Budget",
    "Categorical",
    "ClearlyWorse",
    "Float",
    "Integer",
    "NoPruning",
    "Objective",
    "RandomSampler",
    "Study",
    "StudyDesign",
    "TpeSampler",
    "Wilcoxon",
]
