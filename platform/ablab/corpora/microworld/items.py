"""What a suite is: tasks of items, each with its context and its options, the right one first."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ablab.corpora.microworld.grammar import FORMS, write
from ablab.corpora.microworld.world import World
from ablab.errors import InputError


@dataclass(frozen=True)
class Item:
    """One question. `options[0]` is right; an option continues `context`, with its own leading space."""

    id: str
    context: str
    options: tuple[str, ...]
    cluster: str | None = None
    """The draw of which it is one of several mirrored copies, which tell the same."""


@dataclass(frozen=True)
class Suite:
    """A suite in the shape of a real one.

    `group`: "linguistic" or "reasoning". `chance`: accuracy of guessing, from 0 to 1.
    """

    name: str
    group: str
    chance: float
    tasks: dict[str, list[Item]]


Question = tuple[str, tuple[str, ...]]
"""Context and options, before the item has its id."""
Maker = Callable[[World, random.Random], tuple[Question, ...]]
"""Draws one question with all its mirrored copies: every option is right in as many copies as it is wrong."""


def sentence(event: str, **roles: str) -> str:
    """One sentence of the world's language, in the first form of the event; other roles are let be."""
    return write(FORMS[event][0], roles)


def pair(good: str, bad: str) -> Question:
    """Two whole sentences without a context."""
    return "", (good, bad)


def tasks(world: World, count: int, makers: Mapping[str, Maker]) -> dict[str, list[Item]]:
    """`count` different items of every task; ids are stable and asking for more extends each list.

    Raises InputError where a task has fewer different items than asked for.
    """
    return {name: _task(world, name, count, maker) for name, maker in makers.items()}


def _task(world: World, name: str, count: int, maker: Maker) -> list[Item]:
    rng = random.Random(f"microworld/{world.seed}/suite/{name}")
    questions = list(itertools.islice(_different(world, rng, maker), count))
    if len(questions) < count:
        raise InputError(
            f"items={count} is more than the task {name!r} of the microworld of seed {world.seed} has; "
            f"ask for at most {len(questions)}"
        )
    return [
        Item(f"{name}/{i:04d}", context, options, None if draw is None else f"{name}#{draw}")
        for i, (draw, (context, options)) in enumerate(questions)
    ]


def _different(world: World, rng: random.Random, maker: Maker) -> Iterator[tuple[int | None, Question]]:
    """Questions in groups of mirrored copies, no question twice; ends after 1,000 groups without a new one.

    With the number of its group where that has several.
    """
    seen: set[Question] = set()
    draws = repeated = 0
    while repeated < 1000:
        group = maker(world, rng)
        repeated += 1
        if seen.isdisjoint(group):
            seen.update(group)
            repeated = 0
            yield from ((draws if len(group) > 1 else None, question) for question in group)
            draws += 1
