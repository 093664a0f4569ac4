"""Lowering: a pure function from a resolved recipe and a replicate to the stages that make its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablab.spec.ablation import Replicate
from ablab.spec.corpus import BabyLMSource, FileSource, HubSource, MicroworldSource, Source
from ablab.spec.metrics import suite_groups
from ablab.spec.normal import normal
from ablab.spec.recipe import AtStep, Curve, LastStep, Model, Recipe, Selection
from ablab.spec.stages import Stage
from ablab.spec.suites import BabyLMSuite, LmEvalTasks, MicroworldSuites, SuiteSource
from ablab.spec.synthetic import Bad, EarlyCheckpoint, SmallerModel, Synthetic

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Lowered:
    """The stages of one arm and replicate by their role; `evaluate` is the result everything else leads to.

    Roles: corpus, tokenizer, tokens, suite, requests, real_describe, train, select, evaluate; floor, but not with
    lm-eval's own tasks; with learning curves curve; with synthetic text also good_train, good_select, good_evaluate,
    generate, describe, synthetic_tokens; with a BAD of weights of its own bad_select, bad_evaluate, and with a smaller
    model bad_train. Several arms together have manipulation as well (`ablab.spec.manipulation`).
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
    asked = {"suite": suite, "tokenizer": tokenizer}
    requests = Stage("requests", {"context": recipe.model.context}, asked, _suite_locations(recipe, "ewok"))
    roles = {"corpus": corpus, "tokenizer": tokenizer, "tokens": tokens, "suite": suite, "requests": requests}
    roles["real_describe"] = _describe(recipe, corpus, roles)
    synthetic_tokens = None
    if recipe.synthetic is not None:
        made = _synthetic(recipe, recipe.synthetic, replicate, roles)
        synthetic_tokens = made["synthetic_tokens"]
        roles |= made
    recipe = recipe.model_copy(update={"schedule": recipe.arm_schedule()})
    roles["train"] = _train(recipe, recipe.model, replicate.train_seed, tokens, synthetic=synthetic_tokens)
    roles["select"] = _select(roles["train"], recipe.evaluation.selection)
    roles["evaluate"] = _evaluate(recipe, roles, roles["train"], roles["select"])
    if not any(isinstance(suite, LmEvalTasks) for suite in recipe.evaluation.suites):
        roles["floor"] = _floor(recipe, roles)
    if recipe.evaluation.curve is not None:
        roles["curve"] = _curve(recipe, recipe.evaluation.curve, roles)
    return Lowered(roles)


def _floor(recipe: Recipe, shared: Mapping[str, Stage]) -> Stage:
    """What n-grams score on the same items; they cannot write the text that lm-eval's tasks may ask for."""
    params = {"order": 5, "test_tokens": recipe.evaluation.test_tokens}
    inputs = {name: shared[name] for name in ("suite", "requests", "tokenizer", "tokens")}
    return Stage("floor", params, inputs, _suite_locations(recipe, "ewok"))


def _corpus(recipe: Recipe) -> Stage:
    locations: dict[str, str] = {}
    for source in recipe.corpus.sources:
        locations |= source_locations(source)
    return Stage("corpus", recipe.corpus.canonical(), {}, locations)


def source_locations(source: Source) -> dict[str, str]:
    """The resolved paths of a source's files by digest."""
    if isinstance(source, BabyLMSource):
        suffix = {"train": "train", "validation": "dev", "test": "test"}
        return {d: f"{source.path}/{suffix[s]}/{source.name}.{suffix[s]}" for s, d in source.digests.items()}
    if isinstance(source, FileSource):
        paths = {"train": source.train, "validation": source.validation, "test": source.test}
        return {d: p for s, of in source.digests.items() for d, p in zip(of, paths[s], strict=True)}
    if isinstance(source, HubSource):
        return {d: source.paths[split] for split, d in source.digests.items()}
    return {}


def _suite(recipe: Recipe) -> Stage:
    suites = [suite.canonical() for suite in recipe.evaluation.suites]
    return Stage("suite", {"suites": suites}, {}, _suite_locations(recipe))


def _suite_locations(recipe: Recipe, task: str | None = None) -> dict[str, str]:
    """Paths of the suites' files by digest; of those with one task only, if it is given."""
    return {
        value: suite.path if _task(suite) == "ewok" else f"{suite.path}/{file}"
        for suite in recipe.evaluation.suites
        if not isinstance(suite, MicroworldSuites) and task in (None, _task(suite))
        for file, value in suite.digests.items()
    }


def _task(suite: SuiteSource) -> str | None:
    return suite.task if isinstance(suite, BabyLMSuite) else None


def _train(
    recipe: Recipe,
    model: Model,
    seed: int,
    tokens: Stage,
    synthetic: Stage | None = None,
    until: Stage | None = None,
) -> Stage:
    """A training; on synthetic text too where `synthetic` is given, up to a selected step where `until` is."""
    params: dict[str, Any] = {
        "model": model.canonical(),
        "vocab_size": recipe.tokenizer.vocab_size,
        "schedule": recipe.schedule.canonical(),
        "precision": recipe.precision,
        "train_seed": seed,
        "share": recipe.mixture.share if synthetic is not None else 0.0,
    }
    keep = _looked_at(recipe) if synthetic is not None else []
    if keep:
        params["keep"] = keep  # beside the last and the best
    inputs = {"tokens": tokens}
    if synthetic is not None:
        inputs["synthetic"] = synthetic
    if until is not None:
        inputs["until"] = until
    return Stage("train", params, inputs)


def _looked_at(recipe: Recipe) -> list[int]:
    """Declared steps before the last of which something is measured."""
    judged, curve = recipe.evaluation.selection, recipe.evaluation.curve
    steps = {judged.step} if isinstance(judged, AtStep) else set()
    steps |= set(_curve_steps(recipe, curve)) if curve is not None else set()
    return sorted(steps - {recipe.schedule.steps})


def _curve_steps(recipe: Recipe, curve: Curve) -> list[int]:
    return list(range(curve.every, recipe.schedule.steps + 1, curve.every))


def _select(train: Stage, rule: Selection) -> Stage:
    return Stage("select", {"rule": rule.canonical()}, {"train": train})


def _synthetic(
    recipe: Recipe, synthetic: Synthetic, replicate: Replicate, shared: Mapping[str, Stage]
) -> dict[str, Stage]:
    corpus, tokenizer = shared["corpus"], shared["tokenizer"]
    seed = replicate.train_seed if recipe.good.per_replicate else recipe.good.train_seed
    train = _train(recipe, recipe.model, seed, shared["tokens"])
    select = _select(train, recipe.good.selection)
    bad = _bad(recipe, synthetic.bad, seed, shared, train, select)
    params = synthetic.canonical() | {"generation_seed": replicate.generation_seed, "precision": recipe.precision}
    inputs = {"corpus": corpus, "tokenizer": tokenizer, "good": train, "select": select}
    if isinstance(synthetic.bad, SmallerModel):
        params["bad"] = SmallerModel(size="bad").canonical()  # what it is stands in the key of its training
        inputs |= {"bad": bad["bad_train"], "bad_select": bad["bad_select"]}
    generate = Stage("generate", params, inputs)
    return {
        "good_train": train,
        "good_select": select,
        "good_evaluate": _evaluate(recipe, shared, train, select),
        **bad,
        "generate": generate,
        "describe": _describe(recipe, generate, shared),
        "synthetic_tokens": Stage("tokens", {"splits": ["train"]}, {"corpus": generate, "tokenizer": tokenizer}),
    }


def _describe(recipe: Recipe, corpus: Stage, shared: Mapping[str, Stage]) -> Stage:
    """Statistics of a corpus, generated or the real one."""
    worlds = [s.world_seed for s in recipe.corpus.sources if isinstance(s, MicroworldSource)]
    inputs = {"corpus": corpus, "real": shared["corpus"], "suite": shared["suite"]}
    return Stage("describe", {"world_seeds": worlds}, inputs)


def _bad(
    recipe: Recipe, bad: Bad | None, seed: int, shared: Mapping[str, Stage], good_train: Stage, good_select: Stage
) -> dict[str, Stage]:
    """The stages of a BAD that has weights of its own; attention dropout has GOOD's."""
    if isinstance(bad, EarlyCheckpoint):
        train, select = good_train, _select(good_train, AtStep(step=bad.step))
        return {"bad_select": select, "bad_evaluate": _evaluate(recipe, shared, train, select)}
    if isinstance(bad, SmallerModel):
        train = _train(recipe, recipe.smaller(bad.size), seed, shared["tokens"], until=good_select)
        select = _select(train, LastStep())
        return {"bad_train": train, "bad_select": select, "bad_evaluate": _evaluate(recipe, shared, train, select)}
    return {}


def _evaluate(recipe: Recipe, shared: Mapping[str, Stage], train: Stage, select: Stage) -> Stage:
    return Stage(
        "evaluate",
        {"precision": recipe.precision, "test_tokens": recipe.evaluation.test_tokens},
        {
            "train": train,
            "select": select,
            **{name: shared[name] for name in ("suite", "requests", "tokenizer", "tokens")},
        },
        _suite_locations(recipe, "ewok"),
    )


def _curve(recipe: Recipe, curve: Curve, shared: Mapping[str, Stage]) -> Stage:
    wanted = curve.suites
    params = {
        "precision": recipe.precision,
        "steps": _curve_steps(recipe, curve),
        "suites": [name for name in suite_groups(recipe) if wanted is None or name in wanted],
        "items_per_task": curve.items_per_task,
    }
    inputs = {name: shared[name] for name in ("train", "suite", "requests", "tokenizer")}
    return Stage("curve", params, inputs, _suite_locations(recipe, "ewok"))
