"""Names of what is measured: suites, their groups and language modelling."""

from __future__ import annotations

from ablab.spec.recipe import Recipe
from ablab.spec.suites import MicroworldSuites

LINGUISTIC, REASONING = "linguistic", "reasoning"

MICROWORLD_GROUPS = {
    "minimal_pairs": LINGUISTIC,
    "qa_congruence": REASONING,
    "entity_tracking": REASONING,
    "world_knowledge": REASONING,
    "nonce_morphology": REASONING,
}
"""Group of every suite that the microworld makes."""

PERPLEXITY = "perplexity"
BITS_PER_BYTE = "bits per byte"
"""Of the same text as perplexity: shown beneath it, never compared and no metric of claims."""
AGGREGATE = "aggregate"
"""The unweighted mean over all suites; the study's own aggregate is relative to the control."""


def suite_groups(recipe: Recipe) -> dict[str, str]:
    """Group of every suite that the recipe evaluates, by suite name, in declared order."""
    groups: dict[str, str] = {}
    for suite in recipe.evaluation.suites:
        if isinstance(suite, MicroworldSuites):
            groups |= {name: MICROWORLD_GROUPS.get(name, REASONING) for name in suite.names}
        else:
            groups[suite.name] = suite.group
    return groups


def metrics_of(recipe: Recipe) -> list[str]:
    """Names that a claim may judge by."""
    groups = suite_groups(recipe)
    return [*groups, *dict.fromkeys(groups.values()), AGGREGATE, PERPLEXITY]
