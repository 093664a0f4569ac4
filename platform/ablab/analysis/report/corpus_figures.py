"""Figures of corpora, laid over each other: the course over the steps, and how long documents are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ablab.analysis.plot import make_figure
from ablab.analysis.report.corpora import REAL, STEPS, Column
from ablab.analysis.report.figures import LOGARITHMIC, STYLE, Drawn, draw_line, save_figure, styles_of

ENDINGS = (".svg", ".png")


def draw_corpora(columns: Sequence[Column], folder: Path) -> tuple[Drawn, ...]:
    """Every figure that the corpora have something for, as SVG for the page and PNG beside it."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        return tuple(_figures(columns, folder))


def _figures(columns: Sequence[Column], folder: Path) -> Iterator[Drawn]:
    styles = styles_of(REAL, [one.name for one in columns if one.name != REAL])
    measured = [step for step in STEPS if any(step in one.steps for one in columns)]
    if measured:
        words = "Mean over the sequences that were still sampled at a step; over several corpora their mean, with "
        words += "their range as a band. KL is measured at some of the steps."
        drawn = Drawn("corpus-steps", "By step of a sequence", words, folder, ENDINGS)
        yield save_figure(drawn, _steps_figure(columns, measured, styles))
    if any(one.lengths for one in columns):
        words = "Whitespace words of a document. The height is the share of the documents per doubling of the length, "
        words += "so that equal areas are equally many documents."
        drawn = Drawn("corpus-lengths", "Length of documents", words, folder, ENDINGS)
        yield save_figure(drawn, _lengths_figure(columns, styles))


def _steps_figure(columns: Sequence[Column], measured: Sequence[str], styles: Mapping[str, dict[str, Any]]) -> Any:
    figure = make_figure(3.3 * len(measured) + 0.4, 3.4)
    axes = figure.subplots(1, len(measured), squeeze=False)[0]
    for axis, step in zip(axes, measured, strict=True):
        for one in columns:
            if step in one.steps:
                draw_line(axis, one.steps[step], styles[one.name], markers=False)
        axis.set_title(STEPS[step], fontsize=10)
        axis.set_xlabel("step", fontsize=9)
        lowest, highest = axis.dataLim.intervaly
        if lowest > 0.0 and highest > LOGARITHMIC * lowest:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0.0)
        _plain(axis)
    _legend(figure, axes)
    return figure


def _lengths_figure(columns: Sequence[Column], styles: Mapping[str, dict[str, Any]]) -> Any:
    figure = make_figure(6.2, 3.4)
    axis = figure.subplots()
    for one in columns:
        x, height = _density(one.lengths)
        style = styles[one.name]
        axis.step(x, height, where="post", color=style["color"], linestyle=style["linestyle"], label=one.name)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_ylim(bottom=0.0)
    axis.set_xlabel("words", fontsize=9)
    axis.set_ylabel("share per doubling", fontsize=9)
    _plain(axis)
    _legend(figure, [axis])
    return figure


def _density(lengths: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Edges from the first document to behind the last, and the share per doubling between them."""
    edges = [edge for edge in sorted(lengths) if edge > 0]
    bins = [(low, high, lengths[low] / math.log2(high / low)) for low, high in pairwise(edges)]
    filled = [place for place, (_, _, height) in enumerate(bins) if height > 0.0]
    if not filled:
        return [], []
    shown = bins[filled[0] : filled[-1] + 1]
    x = [shown[0][0], *(low for low, _, _ in shown), shown[-1][1]]
    return [float(value) for value in x], [0.0, *(height for _, _, height in shown), 0.0]


def _plain(axis: Any) -> None:
    axis.tick_params(labelsize=8)
    axis.grid(color="#EEEEEE", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One for all panels, also where a panel lacks some corpus."""
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if found:
        figure.legend(
            found.values(), found, loc="outside lower center", ncols=min(4, len(found)), frameon=False, fontsize=8
        )
