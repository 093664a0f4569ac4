"""Figures of a report, each as PDF and PNG for a paper and as SVG for the page.

matplotlib is imported when a figure is drawn. The same material gives the same bytes: no dates, fixed ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from ablab.analysis.comparison import Metric
from ablab.analysis.plot import COLOURS, MARKERS, PANELS_ACROSS, axis_limit, make_figure, plot_effects, undated
from ablab.analysis.report.material import FactorCurve, Line, Material, ScoreCurves, TaskEffect
from ablab.analysis.report.tasks import by_suite
from ablab.analysis.table import HEADLINE

PAPER, SCREEN = (".svg", ".pdf", ".png"), (".svg",)
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ablab",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a name is a name, whatever dollars it holds
}
CONTROL_COLOUR = "#000000"
LINES = ("-", "--", ":", "-.")
FACTOR_PANELS_ACROSS = 3
MOST_CURVES = 16  # tasks of a suite that are drawn over steps; CSV has all
MANY_TASKS = 12  # names become small
LOGARITHMIC = 20.0  # a factor that spans more than this is shown by its logarithm


@dataclass(frozen=True)
class Drawn:
    """A figure as files `<folder>/<name>.{svg,pdf,png}`."""

    name: str
    title: str
    words: str
    """What a reader must know to read it; plain text."""
    folder: Path
    endings: tuple[str, ...]

    @property
    def svg(self) -> Path:
        return self.folder / f"{self.name}.svg"

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.folder / f"{self.name}{ending}" for ending in self.endings)


def draw_figures(material: Material, folder: Path, endings: tuple[str, ...] = PAPER) -> tuple[Drawn, ...]:
    """Every figure that the material has something for."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        return tuple(_figures(material, lambda name, title, words: Drawn(name, title, words, folder, endings)))


def _figures(material: Material, named: Callable[[str, str, str], Drawn]) -> Iterator[Drawn]:
    control = material.comparison.control
    if material.comparison.effects:
        drawn = named("effects", "Effects by group and suite", _scope(material))
        for path in drawn.paths:
            plot_effects(material.shown, path)
        yield drawn
    for suite, tasks in by_suite(material.tasks):
        words = f"Paired difference from {control} in points, 95 % intervals. {len({t.effect.metric for t in tasks})} "
        words += "tasks are looked at and nothing is corrected for that: a place to look, not to conclude. Intervals "
        words += "that leave the axis are cut."
        drawn = named(f"tasks-{suite}", f"Effects by task: {suite}", words)
        yield save_figure(drawn, _task_figure(material, tasks))
    if material.curves.train or material.curves.validation:
        words = "Mean over replicates; the band is their range. Training loss is the mean over bins of steps and, in a "
        words += "mixture, of real and synthetic text together; validation loss is of real text in every arm."
        yield save_figure(named("learning-curves", "Learning curves", words), _learning_figure(material))
    yield from _score_figures(material, named)
    for number, curve in enumerate(material.factors, 1):
        rest = f" ({curve.rest})" if curve.rest else ""
        words = f"Paired difference from {control} by {curve.factor}{rest}, with its 95 % interval at every value as "
        words += "a band. Intervals hold value by value, not for the curve as a whole."
        title = f"{_short(curve.factor).capitalize()}{rest}"
        yield save_figure(named(f"factor-{number}", title, words), _factor_figure(material, curve))


def _scope(material: Material) -> str:
    return (
        f"Paired differences from {material.comparison.control}; 95 % intervals for new replicates and new items, as "
        "far as the notes below say. Intervals that leave the axis are cut."
    )


def save_figure(drawn: Drawn, figure: Any) -> Drawn:
    """Write the figure's files."""
    for path in drawn.paths:
        figure.savefig(path, dpi=160, metadata=undated(path))
    return drawn


def arm_styles(material: Material) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of every arm, the same in all figures; the control is black."""
    control = material.comparison.control
    return styles_of(control, [arm for arm in material.shown.arms if arm != control])


def styles_of(control: str, others: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line by name."""
    styles = {control: {"color": CONTROL_COLOUR, "marker": "o", "linestyle": "-"}}
    colours = COLOURS[:-1]  # the last is the control's
    for index, (arm, marker) in enumerate(zip(others, cycle(MARKERS), strict=False)):
        line = LINES[index // len(colours) % len(LINES)]
        styles[arm] = {"color": colours[index % len(colours)], "marker": marker, "linestyle": line}
    return styles


def _task_figure(material: Material, tasks: Sequence[TaskEffect]) -> Any:
    """A panel per arm, tasks from top to bottom in the order of the suite."""
    names = list(dict.fromkeys(one.effect.metric for one in tasks))
    arms = [arm for arm in material.shown.arms if any(one.effect.arm == arm for one in tasks)]
    styles = arm_styles(material)
    row = 0.17 if len(names) > MANY_TASKS else 0.26
    figure = make_figure(2.2 + 1.7 * len(arms), 0.9 + row * len(names))
    axes = figure.subplots(1, len(arms), squeeze=False, sharey=True, sharex=True)[0]
    for axis, arm in zip(axes, arms, strict=True):
        colour = styles[arm]["color"]
        axis.axvline(0.0, color="#555555", linewidth=0.8, zorder=0)
        for effect in (one.effect for one in tasks if one.effect.arm == arm):
            height = names.index(effect.metric)
            if effect.interval is not None:
                axis.plot((effect.interval.low, effect.interval.high), (height, height), color=colour, linewidth=1.3)
            axis.plot(effect.estimate, height, styles[arm]["marker"], color=colour, markersize=3.6)
        axis.set_title(arm, fontsize=9)
        axis.tick_params(axis="x", labelsize=7, length=2)
        axis.tick_params(axis="y", labelsize=6.5 if len(names) > MANY_TASKS else 8, length=0)
        axis.grid(axis="y", color="#EEEEEE", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    limit = axis_limit([one.effect for one in tasks])
    axes[0].set_xlim(-limit, limit)
    figure.supxlabel(f"difference from {material.comparison.control} in points", fontsize=9)
    return figure


def _learning_figure(material: Material) -> Any:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panels = [
        (title, lines)
        for title, lines in (("training loss", material.curves.train), ("validation loss", material.curves.validation))
        if lines
    ]
    styles = arm_styles(material)
    figure = make_figure(3.6 * len(panels) + 0.4, 3.4)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for line in lines:
            draw_line(axis, line, styles[line.arm], markers=title == "validation loss")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("tokens seen", fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_ylabel("nats per token", fontsize=9)
        _plain_axis(axis)
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=8)
    return figure


def _score_figures(material: Material, named: Callable[[str, str, str], Drawn]) -> Iterator[Drawn]:
    """Suites and their means in one figure, then the tasks of each suite."""
    words = (
        "At checkpoints, whichever was judged. Mean over replicates; the band is their range, the dotted line chance."
    )
    suites = [one for one in material.curves.scores if one.kind != "task" and one.lines]
    if suites:
        yield save_figure(named("curves-suites", "Scores over training", words), _score_figure(material, suites))
    for suite in dict.fromkeys(one.suite for one in material.curves.scores if one.kind == "task"):
        tasks = [one for one in material.curves.scores if one.suite == suite and one.lines]
        if len(tasks) <= MOST_CURVES:
            title = f"Scores over training, by task: {suite}"
            yield save_figure(named(f"curves-tasks-{suite}", title, words), _score_figure(material, tasks))


def _score_figure(material: Material, curves: Sequence[ScoreCurves]) -> Any:
    styles = arm_styles(material)
    across = min(PANELS_ACROSS, len(curves))
    down = -(-len(curves) // across)
    figure = make_figure(2.3 * across + 0.3, 2.1 * down + 0.7)
    axes = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for axis, one in zip(axes, curves, strict=False):
        if one.chance is not None:
            axis.axhline(one.chance, color="#777777", linewidth=0.8, linestyle=":")
        for line in one.lines:
            draw_line(axis, line, styles[line.arm], markers=True)
        axis.set_title(one.metric, fontsize=9, fontweight="normal" if one.kind in ("suite", "task") else "bold")
        _plain_axis(axis)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    figure.supxlabel("steps", fontsize=9)
    figure.supylabel("score in %", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=8)
    return figure


def _plain_axis(axis: Any) -> None:
    axis.tick_params(labelsize=8, length=2)
    axis.grid(color="#EEEEEE", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def draw_line(axis: Any, line: Line, style: dict[str, Any], markers: bool) -> None:
    """A line, and where it is a mean the range as a band."""
    marker = style["marker"] if markers else None
    axis.plot(
        line.x,
        line.mean,
        color=style["color"],
        linestyle=style["linestyle"],
        marker=marker,
        markersize=3.5,
        linewidth=1.4,
        label=line.arm,
    )
    if line.replicates > 1:
        axis.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.18, linewidth=0)


def _factor_figure(material: Material, curve: FactorCurve) -> Any:
    """A panel per metric: aggregate, groups, perplexity; single suites only where there is nothing else."""
    metrics = sorted(material.comparison.metrics, key=lambda metric: HEADLINE.index(metric.kind))
    chosen = [metric for metric in metrics if metric.kind != "suite"] or metrics
    across = 2 if len(chosen) == 4 else min(FACTOR_PANELS_ACROSS, len(chosen))
    down = -(-len(chosen) // across)
    figure = make_figure(2.6 * across + 0.3, 2.4 * down + 0.3)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, metric in zip(axes, chosen, strict=False):
        _factor_panel(axis, curve, metric)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    figure.supxlabel(curve.factor, fontsize=9)
    return figure


def _factor_panel(axis: Any, curve: FactorCurve, metric: Metric) -> None:
    points = [(point.value, point.effects[metric.name]) for point in curve.points if metric.name in point.effects]
    x = [value for value, _ in points]
    y = [0.0 if effect is None else effect.estimate for _, effect in points]
    spans = [effect.interval if effect else None for _, effect in points]
    known = [(v, m, s) for (v, e), m, s in zip(points, y, spans, strict=True) if e is None or s is not None]
    low = [m if s is None else s.low for _, m, s in known]
    high = [m if s is None else s.high for _, m, s in known]
    axis.axhline(0.0, color="#555555", linewidth=0.8, zorder=0)
    axis.fill_between([v for v, _, _ in known], low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
    axis.plot(x, y, color=COLOURS[0], marker="o", markersize=4, linewidth=1.4)
    if min(x, default=0.0) > 0.0 and max(x) / min(x) > LOGARITHMIC:
        axis.set_xscale("log")
    unit = "%, lower is better" if metric.kind == "perplexity" else "points"
    axis.set_title(f"{metric.name} ({unit})", fontsize=9)
    _plain_axis(axis)


def _short(path: str) -> str:
    """The last part of a recipe path, as words."""
    return path.rpartition(".")[2].replace("_", " ")
