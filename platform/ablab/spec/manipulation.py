"""Manipulations: what sets the generations of arms apart before anything is sampled, and the stage that measures it.

A generation draws from a distribution: GOOD, BAD and the part of the decoding that weighs words. Everything else that
is declared of it (seeds, prompts, number of tokens, where texts stop, what of them is kept) decides which words are
drawn from that distribution, and what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablab.spec.ablation import Design
from ablab.spec.canonical import digest
from ablab.spec.lower import Lowered, lower
from ablab.spec.recipe import Recipe
from ablab.spec.stages import Stage

ROLE = "manipulation"
MODELS = ("good", "select", "bad", "bad_select")
"""Inputs of a generation that its distribution follows from."""
NEUTRAL = {"stop_at_eos": False, "keep_prompt": False}
"""What a decoding says that is not of the distribution, put to one value."""


def lower_design(
    design: Design, recipes: Mapping[str, Recipe], replicates: int | None = None
) -> dict[str, tuple[Lowered, ...]]:
    """The DAGs of those arms that have recipes, for every replicate (or the first ones), with `ROLE` where the
    generations of a replicate draw from two or more declared distributions."""
    arms = lower_arms(design, recipes, replicates)
    longest = max(map(len, arms.values()), default=0)
    found = [manipulations([of[at] for of in arms.values() if at < len(of)]) for at in range(longest)]
    return {
        arm: tuple(_with_role(lowered, found[position]) for position, lowered in enumerate(of))
        for arm, of in arms.items()
    }


def lower_arms(
    design: Design, recipes: Mapping[str, Recipe], replicates: int | None = None
) -> dict[str, tuple[Lowered, ...]]:
    """The same, each arm for itself."""
    return {
        name: tuple(lower(recipe, replicate) for replicate in design.replicates_of(name)[:replicates])
        for name, recipe in recipes.items()
    }


def distribution(generate: Mapping[str, Any]) -> dict[str, Any]:
    """What a generation draws from, by the identity of its stage: BAD, decoding, and the keys of the models."""
    params, inputs = generate["params"], generate["inputs"]
    return {
        "bad": params["bad"],
        "decoding": {**params["decoding"], **NEUTRAL},
        "models": {name: inputs[name] for name in MODELS if name in inputs},
    }


def distributions(manipulation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that a manipulation check measures, by the identity of its stage, in the order of its results."""
    inputs = manipulation["inputs"]
    return [
        {**declared, "models": {name: inputs[f"{name}_{at}"] for name in MODELS if f"{name}_{at}" in inputs}}
        for at, declared in enumerate(manipulation["params"]["distributions"])
    ]


def _group(generate: Stage) -> tuple[str, str, str]:
    """Distributions can be compared that are over the words of one tokenizer, behind the same real text."""
    return generate.inputs["tokenizer"].key, generate.inputs["corpus"].key, generate.params["precision"]


def manipulations(lowered: Iterable[Lowered]) -> dict[tuple[str, str, str], Stage]:
    """The checks of one replicate by what their generations have in common."""
    groups: dict[tuple[str, str, str], dict[str, Stage]] = {}
    for one in lowered:
        if generate := one.roles.get("generate"):
            groups.setdefault(_group(generate), {})[digest(distribution(generate.identity))] = generate
    return {
        group: _stage([different[name] for name in sorted(different)])
        for group, different in groups.items()
        if len(different) > 1
    }


def _stage(generations: Sequence[Stage]) -> Stage:
    """Generations in the order of what they draw from, so that neither names nor order of arms are in its key."""
    first = generations[0]
    params = {
        "precision": first.params["precision"],
        "distributions": [
            {name: of for name, of in distribution(one.identity).items() if name != "models"} for one in generations
        ],
    }
    models = {
        f"{name}_{at}": one.inputs[name] for at, one in enumerate(generations) for name in MODELS if name in one.inputs
    }
    return Stage(ROLE, params, {name: first.inputs[name] for name in ("corpus", "tokenizer")} | models)


def _with_role(lowered: Lowered, found: Mapping[tuple[str, str, str], Stage]) -> Lowered:
    """Before the generation, where a reader looks for it."""
    generate = lowered.roles.get("generate")
    if generate is None or _group(generate) not in found:
        return lowered
    return replace(lowered, roles=dict(_before("generate", found[_group(generate)], lowered.roles)))


def _before(role: str, stage: Stage, roles: Mapping[str, Stage]) -> Iterator[tuple[str, Stage]]:
    for name, one in roles.items():
        if name == role:
            yield ROLE, stage
        yield name, one
