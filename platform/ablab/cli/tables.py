"""The tables of synthetic corpora, for a run and `ablab compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablab.analysis.apart import Apart
from ablab.analysis.corpora import MEASURES, percent

if TYPE_CHECKING:
    from rich.console import Console


def print_corpora(rows: Sequence[dict[str, Any]], screen: Console) -> None:
    """The synthetic corpora side by side, one column per arm; nothing where there are none."""
    if not rows:
        return
    from rich.table import Table
    from rich.text import Text

    screen.print()
    screen.print(Text("Synthetic corpora, mean over replicates", style="bold"))
    table = Table(box=None, pad_edge=True)
    table.add_column("")
    for row in rows:
        table.add_column(row["arm"], justify="right")
    for name, measure in MEASURES.items():
        if measure.brief and any(name in row for row in rows):
            table.add_row(measure.brief, *(measure.shown(row[name]) if name in row else "" for row in rows))
    screen.print(table)
    shares = ", ".join(f"{split} {percent(share)}" for split, share in rows[0]["held_out_overlap"].items())
    screen.print(Text(f"  13-grams of held-out text that the training text holds: {shares}", style="dim"))


def print_apart(found: Sequence[Apart], screen: Console) -> None:
    """Total variation of every two distributions, a column per distribution but the last; nothing where none are."""
    if not found:
        return
    from rich.table import Table
    from rich.text import Text

    between = {(one.arms, one.others): one.total_variation for one in found}
    named = list(dict.fromkeys(arms for one in found for arms in (one.arms, one.others)))
    screen.print()
    screen.print(Text("How far the arms' distributions are apart, before sampling", style="bold"))
    table = Table(box=None, pad_edge=True)
    table.add_column("")
    for arms in named[:-1]:
        table.add_column(", ".join(arms), justify="right")
    for arms in named[1:]:
        distances = [between.get((before, arms)) for before in named[:-1]]
        table.add_row(", ".join(arms), *("" if one is None else f"{one:.3f}" for one in distances))
    screen.print(table)
    screen.print(Text("  total variation behind real text, from 0 (one distribution) to 1", style="dim"))
