"""Lowering: a pure function from a resolved recipe and a replicate to the stages that make its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablab.spec.ablation import Replicate
from ablab.spec.normal import normal
from ablab.spec.recipe import (
    AtStep,
    BabyLMSource,
    BabyLMSuite,
    MicroworldSource,
    Recipe,
    Selection,
    Synthetic,
)
from ablab.spec.stages import Stage

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Lowered:
    """The stages of one arm and replicate by their role; `evaluate` is the result everything else leads to.

    Roles: corpus, tokenizer, tokens, suite, train, select, evaluate, floor; with synthetic text also
    good_train, good_select, good_evaluate, generate, describe, synthetic_tokens, and with BAD bad_select, bad_evaluate.
    """

    roles: Mapping[str, Stage]

    def stages(self) -> Iterator[Stage]:
        """Every stage once, inputs first."""
        seen: set[str] = set()
        for root in self.roles.values():
            for stage in root.walk():
                if stage.key not in seen:
                    seen.add(stage.key)
                    yield stage


def lower(recipe: Recipe, replicate: Replicate) -> Lowered:
    """The DAG of one arm. The recipe must be resolved (every file source has its digests)."""
    recipe = normal(recipe)
    corpus = _corpus(recipe)
    tokenizer = Stage("tokenizer", recipe.tokenizer.canonical(), {"corpus": corpus})
    tokens = Stage("tokens", {"splits": SPLITS}, {"corpus": corpus, "tokenizer": tokenizer})
    suite = _suite(recipe)
    roles = {"corpus": corpus, "tokenizer": tokenizer, "tokens": tokens, "suite": suite}
    synthetic_tokens = None
    if recipe.synthetic is not None:
        made = _synthetic(recipe, recipe.synthetic, replicate, roles)
        synthetic_tokens = made["synthetic_tokens"]
        roles |= made
    roles["train"] = _train(recipe, replicate.train_seed, tokens, synthetic_tokens)
    roles["select"] = _select(roles["train"], recipe.evaluation.selection)
    roles["evaluate"] = _evaluate(recipe, roles, roles["train"], roles["select"])
    roles["floor"] = Stage(
        "floor",
        {"order": 5, "test_tokens": recipe.evaluation.test_tokens},
        {"suite": suite, "tokenizer": tokenizer, "tokens": tokens},
    )
    return Lowered(roles)


def _corpus(recipe: Recipe) -> Stage:
    locations: dict[str, str] = {}
    for source in recipe.corpus.sources:
        if isinstance(source, BabyLMSource):
            for split, value in source.digests.items():
                file = {"validation": "dev"}.get(split, split)
                locations[value] = f"{source.path}/{file}/{source.name}.{file}"
    return Stage("corpus", recipe.corpus.canonical(), {}, locations)


def _suite(recipe: Recipe) -> Stage:
    locations = {
        value: f"{suite.path}/{file}"
        for suite in recipe.evaluation.suites
        if isinstance(suite, BabyLMSuite)
        for file, value in suite.digests.items()
    }
    suites = [suite.canonical() for suite in recipe.evaluation.suites]
    return Stage("suite", {"suites": suites}, {}, locations)


def _train(recipe: Recipe, seed: int, tokens: Stage, synthetic_tokens: Stage | None) -> Stage:
    params: dict[str, Any] = {
        "model": recipe.model.canonical(),
        "vocab_size": recipe.tokenizer.vocab_size,
        "schedule": recipe.schedule.canonical(),
        "precision": recipe.precision,
        "train_seed": seed,
        "share": recipe.mixture.share if synthetic_tokens is not None else 0.0,
    }
    inputs = {"tokens": tokens}
    if synthetic_tokens is not None:
        inputs["synthetic"] = synthetic_tokens
    return Stage("train", params, inputs)


def _select(train: Stage, rule: Selection) -> Stage:
    return Stage("select", {"rule": rule.canonical()}, {"train": train})


def _synthetic(
    recipe: Recipe, synthetic: Synthetic, replicate: Replicate, shared: Mapping[str, Stage]
) -> dict[str, Stage]:
    corpus, tokenizer = shared["corpus"], shared["tokenizer"]
    seed = replicate.train_seed if recipe.good.per_replicate else recipe.good.train_seed
    train = _train(recipe, seed, shared["tokens"], None)
    select = _select(train, recipe.good.selection)
    params = synthetic.canonical() | {
        "generation_seed": replicate.generation_seed,
        "precision": recipe.precision,
    }
    generate = Stage("generate", params, {"corpus": corpus, "tokenizer": tokenizer, "good": train, "select": select})
    worlds = [s.world_seed for s in recipe.corpus.sources if isinstance(s, MicroworldSource)]
    roles = {
        "good_train": train,
        "good_select": select,
        "good_evaluate": _evaluate(recipe, shared, train, select),
        "generate": generate,
        "describe": Stage("describe", {"world_seeds": worlds}, {"corpus": generate, "real": corpus}),
        "synthetic_tokens": Stage("tokens", {"splits": ["train"]}, {"corpus": generate, "tokenizer": tokenizer}),
    }
    if synthetic.bad is not None:
        roles["bad_select"] = _select(train, AtStep(step=synthetic.bad.step))
        roles["bad_evaluate"] = _evaluate(recipe, shared, train, roles["bad_select"])
    return roles


def _evaluate(recipe: Recipe, shared: Mapping[str, Stage], train: Stage, select: Stage) -> Stage:
    return Stage(
        "evaluate",
        {"precision": recipe.precision, "test_tokens": recipe.evaluation.test_tokens},
        {
            "train": train,
            "select": select,
            "suite": shared["suite"],
            "tokenizer": shared["tokenizer"],
            "tokens": shared["tokens"],
        },
    )
