"""The suites of a microworld, in the shapes of the real ones."""

from __future__ import annotations

from ablab.corpora.microworld.items import Suite, tasks
from ablab.corpora.microworld.linguistic import MINIMAL_PAIRS, QA_CONGRUENCE
from ablab.corpora.microworld.reasoning import NONCE_MORPHOLOGY, WORLD_KNOWLEDGE, entity_tracking
from ablab.corpora.microworld.world import build


def suites(seed: int, items: int, operations: tuple[int, ...] = (0,)) -> dict[str, Suite]:
    """Every suite over the world of `seed`, with `items` items in each task.

    `operations`: the numbers of moves for which entity tracking has a task.
    Option 0 of an item is right. Apart from entity tracking (5 options, each right equally often by
    draw), items come in mirrored copies in which the same words are once right and once wrong.
    Raises InputError where a task has fewer than `items` different items.
    """
    world = build(seed)
    tracking = {f"regular_{count}_ops": entity_tracking(count) for count in operations}
    found = (
        Suite("minimal_pairs", "linguistic", 0.5, tasks(world, items, MINIMAL_PAIRS)),
        Suite("qa_congruence", "reasoning", 0.5, tasks(world, items, QA_CONGRUENCE)),
        Suite("entity_tracking", "reasoning", 0.2, tasks(world, items, tracking)),
        Suite("world_knowledge", "reasoning", 0.5, tasks(world, items, WORLD_KNOWLEDGE)),
        Suite("nonce_morphology", "reasoning", 0.5, tasks(world, items, NONCE_MORPHOLOGY)),
    )
    return {suite.name: suite for suite in found}
