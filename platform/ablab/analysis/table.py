"""A comparison on the terminal: scores, differences from the control, claims in words. Nothing rests on colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ablab.analysis.comparison import Comparison, Effect, Metric, Score

VERDICT_STYLES = {"supported": "bold green", "contradicted": "bold red", "inconclusive": "yellow", "not run": "dim"}
SEPARATION = 2  # between columns: the box's own blank, and one of padding
HEADER_WIDTH = 12  # a longer arm name is broken at its hyphens
NOTHING_THERE = "-"


@dataclass(frozen=True)
class Column:
    header: str
    cells: tuple[Text, ...]

    def heading(self) -> str:
        return "\n".join(textwrap.wrap(self.header, HEADER_WIDTH))

    def width(self) -> int:
        return max(map(len, [*self.heading().splitlines(), *(cell.plain for cell in self.cells)]))


def render(comparison: Comparison, console: Console) -> None:
    """Print the comparison. Columns that do not fit the console's width continue in a further block."""
    metrics = comparison.metrics
    console.print(Text(f"Scores in %, {_replicates(comparison)}", style="bold"))
    _print_blocks(console, metrics, _score_columns(comparison))
    others = [arm for arm in comparison.arms if arm != comparison.control]
    columns = [_effect_column(comparison, arm) for arm in others]
    if comparison.effects:
        console.print(Text(f"Difference from {comparison.control}, {_scope(comparison)}", style="bold"))
        _print_blocks(console, metrics, columns)
    for line in _remarks(comparison):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))
    _print_claims(console, comparison)


def _replicates(comparison: Comparison) -> str:
    count = len(comparison.replicates)
    return "one replicate" if count == 1 else f"mean ± standard deviation over {count} replicates"


def _scope(comparison: Comparison) -> str:
    scope = "paired, in points (perplexity: in %)\n95 % intervals for new items and new replicates; * excludes 0"
    alone = any(effect.replicates == 1 for effect in comparison.effects)
    return scope + ("; † one replicate: new items only" if alone else "")


def _score_columns(comparison: Comparison) -> list[Column]:
    chance = Column("chance", tuple(Text("" if m.chance is None else f"{m.chance:.1f}") for m in comparison.metrics))
    references = [
        Column(r.name, tuple(Text(_number(r.scores[m.name], m)) for m in comparison.metrics))
        for r in comparison.references
    ]
    arms = [
        Column(arm, tuple(_score_cell(comparison.score(arm, m.name), m) for m in comparison.metrics))
        for arm in comparison.arms
    ]
    return [chance, *references, *arms]


def _number(value: float, metric: Metric) -> str:
    return f"{value:.2f}" if metric.kind == "perplexity" else f"{value:.1f}"


def _score_cell(score: Score, metric: Metric) -> Text:
    if score.mean is None:
        return Text(NOTHING_THERE, style="dim")
    text = Text(_number(score.mean, metric))
    if score.spread is not None:
        text.append(f"±{_number(score.spread, metric)}", style="dim")
    return text


def _effect_column(comparison: Comparison, arm: str) -> Column:
    effects = [comparison.effect(arm, comparison.control, metric.name) for metric in comparison.metrics]
    return Column(arm, tuple(_effect_cell(e, m) for e, m in zip(effects, comparison.metrics, strict=True)))


def _effect_cell(effect: Effect | None, metric: Metric) -> Text:
    if effect is None:
        return Text(NOTHING_THERE, style="dim")
    if effect.interval is None:
        return Text(f"{effect.estimate:+z.1f} no interval ")
    low, high = effect.interval.low, effect.interval.high
    clear = low > 0.0 or high < 0.0
    better = (effect.estimate > 0.0) != (metric.kind == "perplexity")
    style = ("green" if better else "red") if clear else ""
    mark = ("†" if effect.interval.inference == "new items" else "") + ("*" if clear else " ")
    return Text(f"{effect.estimate:+z.1f} [{low:z.1f}, {high:z.1f}]{mark}", style=style)


def _print_blocks(console: Console, metrics: Sequence[Metric], columns: Sequence[Column]) -> None:
    names = Column("", tuple(Text(metric.name) for metric in metrics))
    for block in _blocks(columns, console.width - names.width() - 2 * SEPARATION):
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), header_style="bold")
        table.add_column("", min_width=names.width(), no_wrap=True)
        for column in block:
            table.add_column(
                Text(column.heading(), justify="right"), justify="right", width=column.width(), overflow="fold"
            )
        for row, metric in enumerate(metrics):
            last = row + 1 == len(metrics) or metrics[row + 1].kind != metric.kind
            table.add_row(names.cells[row], *(column.cells[row] for column in block), end_section=last)
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


def _remarks(comparison: Comparison) -> Iterator[str]:
    if comparison.missing:
        yield "Missing: " + ", ".join(comparison.missing)
    for note in comparison.notes:
        yield "Note: " + note


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
