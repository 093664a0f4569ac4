"""Rules that join several fields of a recipe. All faults are returned together; none is raised here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

from ablab.errors import did_you_mean
from ablab.spec.corpuscheck import corpus_faults
from ablab.spec.metrics import AGGREGATE, PERPLEXITY, suite_groups
from ablab.spec.recipe import AtStep, Model, Recipe, Selection
from ablab.spec.suites import Group
from ablab.spec.synthetic import EarlyCheckpoint, SmallerModel, Synthetic


def recipe_faults(recipe: Recipe) -> list[str]:
    """Every cross-field fault of a recipe as 'rule, value, remedy', without knowing any file."""
    return [
        *_shape_faults(recipe),
        *_measured_faults(recipe),
        *corpus_faults(recipe),
        *_selection_faults(recipe),
        *_suite_faults(recipe),
        *_curve_faults(recipe),
        *_synthetic_faults(recipe),
    ]


def _shape_faults(recipe: Recipe) -> Iterator[str]:
    model, schedule = recipe.model, recipe.schedule
    yield from _head_faults(model, "model")
    if schedule.tokens_per_step % model.context:
        nearest = max(1, round(schedule.tokens_per_step / model.context)) * model.context
        yield (
            f"schedule.tokens_per_step={schedule.tokens_per_step} must be a multiple of "
            f"model.context={model.context}; try {nearest}"
        )
    if schedule.warmup_steps >= schedule.steps:
        yield (
            f"schedule.warmup_steps={schedule.warmup_steps} must be less than schedule.steps={schedule.steps}; "
            "lower the one or raise the other"
        )
    if schedule.steps % schedule.checkpoint_every:
        yield (
            f"schedule.steps={schedule.steps} must be a multiple of schedule.checkpoint_every="
            f"{schedule.checkpoint_every}, so that the last step is a checkpoint; "
            f"try {math.ceil(schedule.steps / schedule.checkpoint_every) * schedule.checkpoint_every}"
        )
    if recipe.mixture.hold == "real-passes" and recipe.mixture.share == 1.0:
        yield (
            "mixture.share=1.0 leaves no real text, so mixture.hold='real-passes' cannot hold its passes; "
            "lower the share or hold compute"
        )


def _head_faults(model: Model, where: str) -> Iterator[str]:
    if model.hidden % model.heads:
        yield f"{where}.hidden={model.hidden} must be a multiple of {where}.heads={model.heads}"
    elif (model.hidden // model.heads) % 2:
        yield f"{where}.hidden / {where}.heads={model.hidden // model.heads} must be even (rotary positions)"
    if model.kv_heads is not None and model.heads % model.kv_heads:
        yield f"{where}.heads={model.heads} must be a multiple of {where}.kv_heads={model.kv_heads}"


def _measured_faults(recipe: Recipe) -> Iterator[str]:
    validation, test, context = recipe.schedule.validation_tokens, recipe.evaluation.test_tokens, recipe.model.context
    if validation < context:
        yield f"schedule.validation_tokens={validation} must be at least model.context={context}; try {context}"
    if test < 2:
        yield f"evaluation.test_tokens={test} must be at least 2, so that one token is predicted; try {context}"


def _selection_faults(recipe: Recipe) -> Iterator[str]:
    for path, selection in (
        ("good.selection", recipe.good.selection),
        ("evaluation.selection", recipe.evaluation.selection),
    ):
        step = _declared_step(selection)
        if step is not None:
            yield from _step_faults(f"{path}.step", step, recipe)


def _suite_faults(recipe: Recipe) -> Iterator[str]:
    """A suite is not called what else is measured: a claim by that name would mean either."""
    groups = suite_groups(recipe)
    for name in groups:
        if name in (AGGREGATE, PERPLEXITY, *get_args(Group)):
            yield f"evaluation.suites: the name {name!r} is that of another measure; give the suite another name"


def _curve_faults(recipe: Recipe) -> Iterator[str]:
    curve, every = recipe.evaluation.curve, recipe.schedule.checkpoint_every
    if curve is None:
        return
    if curve.every % every or curve.every > recipe.schedule.steps:
        yield (
            f"evaluation.curve.every={curve.every} must be a multiple of schedule.checkpoint_every={every} up to "
            f"schedule.steps={recipe.schedule.steps}; {_nearest(curve.every, recipe.schedule.steps, every)}"
        )
    known = list(suite_groups(recipe))
    for name in dict.fromkeys(curve.suites or ()):
        if name not in known:
            yield f"evaluation.curve.suites: {name!r} is no suite of this evaluation; {did_you_mean(name, known)}"


def _synthetic_faults(recipe: Recipe) -> Iterator[str]:
    synthetic = recipe.synthetic
    if synthetic is None:
        if recipe.mixture.share > 0.0:
            yield (
                f"mixture.share={recipe.mixture.share} needs synthetic text, but synthetic is null; "
                "declare synthetic or set the share to 0"
            )
        return
    decoding = synthetic.decoding
    if decoding.strength > 0.0 and synthetic.bad is None:
        yield f"synthetic.decoding.strength={decoding.strength} needs a BAD model; declare synthetic.bad or use 0"
    yield from _length_faults(synthetic, recipe)
    if isinstance(synthetic.bad, EarlyCheckpoint):
        yield from _early_faults(synthetic.bad.step, recipe)
    elif isinstance(synthetic.bad, SmallerModel):
        yield from _smaller_faults(synthetic.bad.size, recipe)


def _length_faults(synthetic: Synthetic, recipe: Recipe) -> Iterator[str]:
    prompts, context = synthetic.prompts, recipe.model.context
    if prompts.tokens >= context:
        yield (
            f"synthetic.prompts.tokens={prompts.tokens} must be less than model.context={context}, so that there is "
            "room for new_tokens; lower prompts.tokens"
        )
    elif prompts.tokens + prompts.new_tokens > context:
        yield (
            f"synthetic.prompts: tokens + new_tokens = {prompts.tokens + prompts.new_tokens} must fit "
            f"model.context={context}; try new_tokens={context - prompts.tokens}"
        )


def _smaller_faults(name: str, recipe: Recipe) -> Iterator[str]:
    """BAD is a declared size, of a shape that can be built, and smaller than GOOD."""
    if name not in recipe.sizes:
        known = list(recipe.sizes)
        remedy = did_you_mean(name, known) if known else "declare it in sizes"
        yield f"synthetic.bad.size={name!r} is not declared in sizes; {remedy}"
        return
    model = recipe.smaller(name)
    faults = list(_head_faults(model, f"sizes.{name}"))
    yield from faults
    if not faults and _body(model) >= _body(recipe.model):
        yield (
            f"sizes.{name} has {_body(model)} parameters in its layers, model {_body(recipe.model)}; "
            "BAD must be smaller, so lower its layers, hidden or ffn"
        )


def _body(model: Model) -> int:
    """Parameters of the projections of all layers."""
    kv_share = (model.kv_heads or model.heads) / model.heads
    attention = 2 * model.hidden**2 + 2 * model.hidden * round(model.hidden * kv_share)
    return model.layers * (attention + 3 * model.hidden * model.ffn)


def _early_faults(step: int, recipe: Recipe) -> Iterator[str]:
    """BAD is earlier than GOOD, which is the last step at the latest."""
    every, steps = recipe.schedule.checkpoint_every, recipe.schedule.steps
    good = _declared_step(recipe.good.selection)
    if good is None or good > steps:
        latest, rule = steps, f"the last step schedule.steps={steps}, as GOOD is that step at the latest"
    else:
        latest, rule = good, f"GOOD's declared step {good}"
    if step % every or step > steps:
        yield f"{_no_checkpoint('synthetic.bad.step', step, recipe)}; {_nearest(step, latest - 1, every)}"
    elif step >= latest:
        yield f"synthetic.bad.step={step} must be earlier than {rule}; {_nearest(step, latest - 1, every)}"


def _declared_step(selection: Selection) -> int | None:
    return selection.step if isinstance(selection, AtStep) else None


def _step_faults(path: str, step: int, recipe: Recipe) -> Iterator[str]:
    every, steps = recipe.schedule.checkpoint_every, recipe.schedule.steps
    if step % every or step > steps:
        yield f"{_no_checkpoint(path, step, recipe)}; {_nearest(step, steps, every)}"


def _no_checkpoint(path: str, step: int, recipe: Recipe) -> str:
    return (
        f"{path}={step} must be a checkpoint: a multiple of schedule.checkpoint_every="
        f"{recipe.schedule.checkpoint_every} up to schedule.steps={recipe.schedule.steps}"
    )


def _nearest(step: int, last: int, every: int) -> str:
    """The remedy: the checkpoint nearest to `step` that is no later than `last`."""
    if last < every:
        return f"no checkpoint is that early, so lower schedule.checkpoint_every={every}"
    return f"try {min(max((step + every // 2) // every, 1), last // every) * every}"
