"""Forest plot of the differences from the control. matplotlib is imported when a plot is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablab.analysis.comparison import Comparison, Effect, Metric
from ablab.analysis.table import HEADLINE, MANY_ARMS

# Okabe & Ito (2008): told apart with every kind of colour vision; markers differ too, for print in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INCH_PER_ROW = 0.24
PANELS_ACROSS = 4
CLEAR, UNCLEAR = COLOURS[0], "#777777"


def plot_effects(comparison: Comparison, path: Path) -> None:
    """Differences from the control by metric and arm with 95 % intervals, as PNG, PDF or SVG by the file's ending.

    Points and perplexity have an axis each, as their units differ; with many arms every metric has one, and arms are
    rows. The same comparison gives the same picture.
    """
    figure = _panels(comparison) if len(comparison.arms) > MANY_ARMS else _side_by_side(comparison)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160, metadata=undated(path))


def axis_limit(effects: Sequence[Effect]) -> float:
    """Of an axis that shows every estimate and nine of ten intervals whole: two replicates make some endless."""
    ends = sorted(max(-e.interval.low, e.interval.high) for e in effects if e.interval is not None)
    widest = ends[int(0.9 * (len(ends) - 1))] if ends else 0.0
    return 1.1 * max([widest, *(abs(effect.estimate) for effect in effects)]) or 1.0


def make_figure(width: float, height: float) -> Any:
    """An empty figure that needs no display; inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(comparison: Comparison) -> Any:
    """A panel per metric, arms from top to bottom; filled and coloured where the interval excludes 0."""
    arms = [arm for arm in comparison.arms if arm != comparison.control]
    metrics = sorted(comparison.metrics, key=lambda metric: HEADLINE.index(metric.kind))
    down = -(-len(metrics) // PANELS_ACROSS)
    figure = make_figure(2.0 + 2.2 * PANELS_ACROSS, 0.8 + down * (0.7 + 0.19 * len(arms)))
    axes = figure.subplots(down, PANELS_ACROSS, squeeze=False, sharey=True).ravel()
    for axis, metric in zip(axes, metrics, strict=False):
        _panel(axis, comparison, arms, metric)
    for axis in axes[len(metrics) :]:
        axis.set_visible(False)
    axes[0].set_yticks(range(len(arms)), arms)
    axes[0].set_ylim(len(arms) - 0.4, -0.6)
    figure.suptitle(
        f"Difference from {comparison.control} with 95 % intervals; filled: the interval excludes 0", fontsize=10
    )
    return figure


def _panel(axis: Any, comparison: Comparison, arms: Sequence[str], metric: Metric) -> None:
    axis.axvline(0.0, color="#555555", linewidth=0.8, zorder=0)
    for height, arm in enumerate(arms):
        effect = comparison.effect(arm, comparison.control, metric.name)
        if effect is None:
            continue
        interval = effect.interval
        clear = interval is not None and (interval.low > 0.0 or interval.high < 0.0)
        colour = CLEAR if clear else UNCLEAR
        if interval is not None:
            axis.plot((interval.low, interval.high), (height, height), color=colour, linewidth=1.4)
        axis.plot(effect.estimate, height, "o", color=colour, markersize=4.5, fillstyle="full" if clear else "none")
    unit = "%, lower is better" if metric.kind == "perplexity" else "points"
    axis.set_title(f"{metric.name} ({unit})", fontsize=9, fontweight="normal" if metric.kind == "suite" else "bold")
    axis.tick_params(axis="x", labelsize=8, length=2)
    axis.tick_params(axis="y", labelsize=8, length=0)
    axis.grid(axis="y", color="#EEEEEE", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _side_by_side(comparison: Comparison) -> Any:
    """Metrics as rows, arms side by side within each."""
    arms = [arm for arm in comparison.arms if arm != comparison.control]
    scores = [metric for metric in comparison.metrics if metric.kind != "perplexity"]
    panels = [panel for panel in (scores, [m for m in comparison.metrics if m.kind == "perplexity"]) if panel]
    heights = [len(panel) * (len(arms) + 1) for panel in panels]
    figure = make_figure(7.0, 1.6 + INCH_PER_ROW * sum(heights))
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        _draw(axis, comparison, arms, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), frameon=False)
    return figure


def _draw(axis: Any, comparison: Comparison, arms: Sequence[str], metrics: Sequence[Metric]) -> None:
    """One panel: metrics from top to bottom, arms side by side within each."""
    step = len(arms) + 1
    for index, arm in enumerate(arms):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        label: str | None = arm
        for row, metric in enumerate(metrics):
            effect = comparison.effect(arm, comparison.control, metric.name)
            if effect is None:
                continue
            height = row * step + index
            if effect.interval is not None:
                axis.plot((effect.interval.low, effect.interval.high), (height, height), color=colour, linewidth=1.6)
            axis.plot(effect.estimate, height, marker, color=colour, markersize=5.5, linestyle="none", label=label)
            label = None
    axis.axvline(0.0, color="#555555", linewidth=0.8, zorder=0)
    for row in range(1, len(metrics)):
        axis.axhline(row * step - 1, color="#DDDDDD", linewidth=0.6, zorder=0)
    axis.set_yticks([row * step + (len(arms) - 1) / 2 for row in range(len(metrics))], [m.name for m in metrics])
    axis.set_ylim(len(metrics) * step - 1.0, -1.0)
    limit = axis_limit(
        [e for arm in arms for m in metrics if (e := comparison.effect(arm, comparison.control, m.name))]
    )
    axis.set_xlim(-limit, limit)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    perplexity = metrics[0].kind == "perplexity"
    unit = "% of its perplexity (lower is better)" if perplexity else "points (higher is better)"
    axis.set_xlabel(f"difference from {comparison.control}, {unit}; 95 % intervals", fontsize=9)


def undated(path: Path) -> dict[str, None]:
    """Leave out what matplotlib would write about its version and the day."""
    return {
        ".png": {"Software": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        ".svg": {"Date": None, "Creator": None},
    }.get(path.suffix, {})
