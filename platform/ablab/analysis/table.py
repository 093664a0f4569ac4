"""A comparison on the terminal: scores, differences from the control, claims in words. Nothing rests on colour."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ablab.analysis.comparison import (
    Comparison,
    Effect,
    Inference,
    Metric,
    Oracle,
    OracleEffect,
    RelativeChange,
    Score,
)
from ablab.analysis.study import MU_DELTA_REL, STUDY_SUITES
from ablab.spec.metrics import PERPLEXITY

VERDICT_STYLES = {
    "supported": "bold green",
    "contradicted": "bold red",
    "inconclusive": "yellow",
    "not judged": "bold red",
    "not run": "dim",
}
SEPARATION = 2  # between columns: the box's own blank, and one of padding
HEADER_WIDTH = 12  # a longer name is broken at its hyphens and underscores
NOTHING_THERE = "-"
MANY_ARMS = 6  # with more, arms are rows and metrics columns, so that they are read from top to bottom
HEADLINE = ("aggregate", "group", "perplexity", "suite")  # order of the columns then


@dataclass(frozen=True)
class Column:
    header: str
    cells: tuple[Text, ...]

    def heading(self) -> str:
        return "\n".join(_broken(self.header))

    def width(self) -> int:
        return max(map(len, [*self.heading().splitlines(), *(cell.plain for cell in self.cells)]))


@dataclass(frozen=True)
class Grid:
    """Named rows, columns, and the rows below which a line is drawn."""

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: frozenset[int]

    def turned(self, lines: frozenset[int] = frozenset()) -> Grid:
        """Rows as columns."""
        cells = zip(*(column.cells for column in self.columns), strict=True)
        columns = tuple(Column(name, row) for name, row in zip(self.rows, cells, strict=True))
        return Grid(tuple(column.header for column in self.columns), columns, lines)


def render(comparison: Comparison, console: Console) -> None:
    """Print the comparison; what has no result is a dash.

    Columns that do not fit the console's width continue in a further block.
    """
    console.print(Text(f"Scores in %, {_replicates(comparison)}", style="bold"))
    many = len(comparison.arms) > MANY_ARMS
    metrics = sorted(comparison.metrics, key=lambda m: HEADLINE.index(m.kind)) if many else comparison.metrics
    scored = [*comparison.metrics, *comparison.beside]
    scored = sorted(scored, key=lambda m: HEADLINE.index(m.kind)) if many else scored
    scores = _grid(scored, score_columns(comparison, scored))
    others = len(scores.columns) - len(comparison.arms)  # chance and references stand before the arms
    _print_blocks(console, scores.turned(frozenset({others - 1})) if many else scores)
    if comparison.effects:
        arms = [arm for arm in comparison.arms if arm != comparison.control]
        effects = _grid(metrics, [effect_column(comparison, arm, metrics) for arm in arms])
        console.print(Text(f"Difference from {comparison.control}, {_scope(comparison)}", style="bold"))
        _print_blocks(console, effects.turned() if many else effects)
    _print_relative(comparison, console)
    _print_oracle(comparison, console)
    for line in _remarks(comparison):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))
    _print_claims(console, comparison)


def _grid(metrics: Sequence[Metric], columns: Sequence[Column]) -> Grid:
    """Metrics as rows, with a line where their kind changes."""
    lines = frozenset(row for row, (one, other) in enumerate(pairwise(metrics)) if one.kind != other.kind)
    return Grid(tuple(metric.name for metric in metrics), tuple(columns), lines)


def _broken(name: str) -> list[str]:
    """A name in lines of at most HEADER_WIDTH, broken behind hyphens, underscores, colons and blanks where it can
    be."""
    lines = [""]
    for part in re.findall(r"[^-_: ]*[-_: ]|[^-_: ]+", name):
        if len(lines[-1]) + len(part.rstrip()) > HEADER_WIDTH:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > HEADER_WIDTH:
            lines[-1:] = [lines[-1][:HEADER_WIDTH], lines[-1][HEADER_WIDTH:]]
    return [line.rstrip() for line in lines if line.strip()]


def _replicates(comparison: Comparison) -> str:
    count = max((sum(v is not None for v in score.values) for score in comparison.scores), default=0)
    return "one replicate" if count == 1 else f"mean ± standard deviation over {count} replicates"


def _scope(comparison: Comparison) -> str:
    scope = "paired, in points (perplexity: in %)\n95 % intervals for new items and new replicates; * excludes 0"
    scores = [effect for effect in comparison.effects if effect.metric != PERPLEXITY]
    scopes = {effect.interval.inference for effect in scores if effect.interval is not None}
    if any(effect.replicates == 1 for effect in comparison.effects):
        scope += "; † one replicate: new items only"
    marked = any(SCOPE_MARKS[inference] == "‡" for inference in scopes)
    return scope + ("; ‡ some suites without\nvalues of items: these items of those" if marked else "")


SCOPE_MARKS: dict[Inference, str] = {
    "new items and replicates": "",
    "new items": "†",
    "new replicates": "‡",
    "new replicates and some items": "‡",
}


def score_columns(comparison: Comparison, metrics: Sequence[Metric]) -> list[Column]:
    """Chance, references and arms; a cell per metric."""
    chance = Column("chance", tuple(Text("" if m.chance is None else f"{m.chance:.1f}") for m in metrics))
    references = [
        Column(r.name, tuple(Text(_number(r.scores[m.name], m)) for m in metrics)) for r in comparison.references
    ]
    arms = [
        Column(arm, tuple(_score_cell(comparison.score(arm, m.name), m) for m in metrics)) for arm in comparison.arms
    ]
    return [chance, *references, *arms]


def _number(value: float, metric: Metric) -> str:
    return f"{value:.{2 if metric.kind == 'perplexity' else metric.decimals}f}"


def _score_cell(score: Score, metric: Metric) -> Text:
    if score.mean is None:
        return Text(NOTHING_THERE, style="dim")
    text = Text(_number(score.mean, metric))
    if score.spread is not None:
        text.append(f"±{_number(score.spread, metric)}", style="dim")
    return text


def effect_column(comparison: Comparison, arm: str, metrics: Sequence[Metric]) -> Column:
    """Differences of one arm from the control, with intervals; a cell per metric."""
    effects = [comparison.effect(arm, comparison.control, metric.name) for metric in metrics]
    return Column(arm, tuple(_effect_cell(e, m) for e, m in zip(effects, metrics, strict=True)))


def _effect_cell(effect: Effect | None, metric: Metric) -> Text:
    if effect is None:
        return Text(NOTHING_THERE, style="dim")
    if effect.interval is None:
        return Text(f"{effect.estimate:+z.{metric.decimals}f} no interval ")
    low, high = effect.interval.low, effect.interval.high
    clear = low > 0.0 or high < 0.0
    better = (effect.estimate > 0.0) != (metric.kind == "perplexity")
    style = ("green" if better else "red") if clear else ""
    mark = ("" if metric.kind == "perplexity" else SCOPE_MARKS[effect.interval.inference]) + ("*" if clear else " ")
    digits = f"z.{metric.decimals}f"
    return Text(f"{effect.estimate:+{digits}} [{low:{digits}}, {high:{digits}}]{mark}", style=style)


def _print_blocks(console: Console, grid: Grid) -> None:
    names = max(map(len, grid.rows), default=0)
    for block in _blocks(grid.columns, console.width - names - 2 * SEPARATION):
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), header_style="bold")
        table.add_column("", min_width=names, no_wrap=True)
        for column in block:
            table.add_column(
                Text(column.heading(), justify="right"), justify="right", width=column.width(), overflow="fold"
            )
        for row, name in enumerate(grid.rows):
            table.add_row(Text(name), *(column.cells[row] for column in block), end_section=row in grid.lines)
        console.print(Padding(table, (0, 0, 1, 1), expand=False))


def _blocks(columns: Sequence[Column], room: int) -> Iterator[list[Column]]:
    """Columns in order, as many together as fit; at least one."""
    block: list[Column] = []
    used = 0
    for column in columns:
        needed = column.width() + SEPARATION
        if block and used + needed > room:
            yield block
            block, used = [], 0
        block.append(column)
        used += needed
    if block:
        yield block


def _print_relative(comparison: Comparison, console: Console) -> None:
    """The study's aggregate, or as much of it as there is, and the mean change in points of the same suites."""
    shown = [one for one in comparison.relative if len(one.missing) < len(STUDY_SUITES)]
    if not shown:
        return
    measured = ", ".join(term.metric for term in shown[0].terms)
    if shown[0].missing:
        title = f"Mean relative change against {comparison.control} over {measured}"
        remark = f"This is not the study's {MU_DELTA_REL}, which also holds {', '.join(shown[0].missing)}."
    else:
        title = f"{MU_DELTA_REL} against {comparison.control}: mean relative change over {measured}"
        remark = "The study takes the best checkpoint on these suites themselves; this one was chosen beforehand."
    console.print(Text(title, style="bold"))
    columns = (
        Column("in %", tuple(Text(NOTHING_THERE if r.mean is None else f"{r.mean:+z.2f}") for r in shown)),
        Column("in points", tuple(Text(f"{r.points:+z.2f}") for r in shown)),
        Column("unstable", tuple(Text(" ".join(_unstable(r)) or NOTHING_THERE) for r in shown)),
    )
    _print_blocks(console, Grid(tuple(r.arm for r in shown), columns, frozenset()))
    if any(_unstable(one) for one in shown):
        remark += " Unstable: the baseline is less than two standard errors from 0; read the mean in points instead."
    console.print(Padding(Text(remark, style="dim"), (0, 0, 0, 2), expand=False))


def _unstable(one: RelativeChange) -> list[str]:
    return [term.metric for term in one.terms if term.unstable]


def oracle_title(found: Oracle) -> str:
    return (
        f"The study's own procedure, oracle selection: best of {len(found.steps)} checkpoints on the suites themselves"
    )


ORACLE_CAUTION = (
    "Differences in points, in brackets the study's bootstrap (items drawn again, bounds averaged over seeds). The "
    "best of noisy scores is too high for every arm, so these numbers are compared with none above, and no verdict "
    "rests on them. 'Held-out': the same suites, items and replicates with the checkpoint selected beforehand."
)


def _oracle_columns(found: Oracle) -> tuple[tuple[str, ...], list[Column]]:
    """Rows (suites, their mean, the study's mean relative change) and columns (every arm twice: oracle, held-out)."""
    metrics = tuple(dict.fromkeys(effect.metric for effect in found.effects))
    by_arm = {one.arm: one for one in found.relative}
    columns = []
    for arm in dict.fromkeys(effect.arm for effect in found.effects):
        cells = {effect.metric: effect for effect in found.effects if effect.arm == arm}
        mean = by_arm[arm].mean
        relative = Text(NOTHING_THERE if mean is None else f"{mean:+z.2f} %")
        columns.append(Column(f"{arm} oracle", (*(Text(_oracle_text(cells[m])) for m in metrics), relative)))
        held = (Text(f"{cells[m].held_out:+z.1f}") for m in metrics)
        columns.append(Column("held-out", (*held, Text(""))))
    return (*metrics, found.relative[0].name), columns


def _oracle_text(effect: OracleEffect) -> str:
    if effect.low is None or effect.high is None:
        return f"{effect.estimate:+z.1f}"
    return f"{effect.estimate:+z.1f} [{effect.low:z.1f}, {effect.high:z.1f}]"


def _print_oracle(comparison: Comparison, console: Console) -> None:
    found = comparison.oracle
    if found is None or not found.effects:
        return
    console.print(Text(oracle_title(found), style="bold"))
    rows, columns = _oracle_columns(found)
    _print_blocks(console, Grid(rows, tuple(columns), frozenset({len(rows) - 2})))
    for line in (ORACLE_CAUTION, *(f"Note: {note}" for note in found.notes)):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))


def _remarks(comparison: Comparison) -> Iterator[str]:
    if comparison.missing:
        yield "Missing: " + ", ".join(_missing(comparison))
    for note in comparison.notes:
        yield "Note: " + note


def _missing(comparison: Comparison) -> Iterator[str]:
    """Arms without any result by their name alone, then single results."""
    absent = [arm for arm in comparison.arms if comparison.score(arm, comparison.metrics[0].name).mean is None]
    if absent:
        yield f"all of {', '.join(absent)}"
    yield from (label for label in comparison.missing if label.rpartition(" ")[0] not in absent)


def _print_claims(console: Console, comparison: Comparison) -> None:
    if not comparison.claims:
        return
    console.print(Text("\nClaims", style="bold"))
    for claim in comparison.claims:
        words = Text(claim.words)
        words.stylize(VERDICT_STYLES[claim.verdict], 0, len(claim.verdict))
        pair = Text(f"{claim.metric}, {claim.arm} against {claim.against}", style="dim")
        console.print(Padding(Text(claim.statement), (0, 0, 0, 2), expand=False))
        console.print(Padding(words, (0, 0, 0, 4), expand=False))
        console.print(Padding(pair, (0, 0, 0, 4), expand=False))
