"""Paired statistics, verdicts, tables and plots. Reads stored results only; computes no stage."""

from ablab.analysis.compare import compare
from ablab.analysis.comparison import (
    ClaimResult,
    Comparison,
    Effect,
    Interval,
    Metric,
    Reference,
    Score,
)
from ablab.analysis.export import write_files
from ablab.analysis.paired import paired_effect
from ablab.analysis.plot import plot_effects
from ablab.analysis.results import ArmResults, ReplicateResult, load_result
from ablab.analysis.table import render

__all__ = [
    "ArmResults",
    "ClaimResult",
    "Comparison",
    "Effect",
    "Interval",
    "Metric",
    "Reference",
    "ReplicateResult",
    "Score",
    "compare",
    "load_result",
    "paired_effect",
    "plot_effects",
    "render",
    "write_files",
]
