"""What everybody in the generation benchmark samples from, and how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """The one architecture of GOOD and BAD."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab_size: int


@dataclass(frozen=True)
class Setting(Architecture):
    """GOOD and BAD, and how long and how many sequences are."""

    prompt: int
    new_tokens: int
    rows: int
    """Sequences at once, in the same setting for all."""
    our_rows: int
    """Sequences at once at our own best."""
    batches: tuple[int, ...]
    """Among which each peer's best is looked for."""
    lengths: int
    """At how many lengths steps are timed; 0 for whole runs."""
    precision: str
    device: str
