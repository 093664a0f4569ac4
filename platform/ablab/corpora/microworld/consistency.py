"""How much of what generated stories say is true: of the world, and of what they said before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ablab.corpora.microworld.grammar import grammar, sentences
from ablab.corpora.microworld.state import State
from ablab.corpora.microworld.world import build


@dataclass(frozen=True)
class Consistency:
    """Counts over sentences. `statements` = `true` + `contradicted`: the sentences that can be decided."""

    statements: int
    true: int
    contradicted: int
    unparsed: int
    """Sentences that no form of the grammar matches."""
    sentences: int
    """All sentences, also those that claim nothing."""

    @property
    def rate(self) -> float | None:
        """The share of statements that are true, from 0 to 1; None without statements."""
        return self.true / self.statements if self.statements else None


def consistency(seed: int, texts: Iterable[str]) -> Consistency:
    """Reads every text as a story of the world of `seed` and decides what can be decided.

    A fact without time is compared with the world; where things and people are, with the state that
    the same text has told so far. A first mention sets the state and is no statement; a contradiction
    is counted once and, where it is an action, then believed.
    """
    world = build(seed)
    words = grammar(world)
    verdicts: list[bool] = []
    read = unparsed = 0
    for text in texts:
        state = State(world)
        for sentence in sentences(text):
            read += 1
            reading = words.read(sentence)
            if reading is None:
                unparsed += 1
                continue
            verdict = state.hear(reading)
            if verdict is not None:
                verdicts.append(verdict)
    true = sum(verdicts)
    return Consistency(len(verdicts), true, len(verdicts) - true, unparsed, read)
