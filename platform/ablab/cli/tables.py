"""The table of synthetic corpora, for a run and `ablab compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
