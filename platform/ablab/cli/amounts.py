"""The table of what every arm's training takes in, for `ablab show` and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ablab.runner.line import quantity
from ablab.spec.amounts import amounts
from ablab.spec.recipe import Recipe

if TYPE_CHECKING:
    from rich.console import Console


def print_amounts(recipes: Mapping[str, Recipe], screen: Console, real_tokens: int | None = None) -> None:
    """Steps, tokens and passes by arm: what holding compute or real passes does to the other.

    real_tokens: of the real training text, where they are known.
    """
    from rich.table import Table
    from rich.text import Text

    screen.print(Text("\nTraining text by arm (mixture.hold: what stays equal between shares)", style="bold"))
    table = Table(box=None, pad_edge=True)
    for title in ("arm", "share", "held equal", "steps", "tokens", "real passes", "synthetic passes"):
        table.add_column(title, justify="left" if title in ("arm", "held equal") else "right")
    for arm, recipe in recipes.items():
        one = amounts(recipe)
        real = f"{one.real_passes_ratio:.2f} x share 0"
        real += f" = {one.real_passes(real_tokens):.2f}" if real_tokens else ""
        synthetic = "-" if one.synthetic_passes is None else f"{one.synthetic_passes:.2f}"
        cells = (arm, f"{one.share:g}", one.hold, f"{one.steps:,}", quantity(one.tokens), real, synthetic)
        table.add_row(*map(Text, cells))
    screen.print(table)
