"""`Ablation`: a question, and for every scale a design: a control recipe, named edits of it, replicates, claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ablab.errors import InputError, did_you_mean
from ablab.spec.base import INERT, Name, Positive, Spec
from ablab.spec.canonical import digest
from ablab.spec.check import recipe_faults
from ablab.spec.edit import dump, edit, paths
from ablab.spec.metrics import metrics_of
from ablab.spec.normal import normal
from ablab.spec.recipe import Recipe

_ABSENT = object()  # the value at a path that a recipe does not have, where null is a value


class Replicate(Spec):
    """One repetition. Real-only arms use `train_seed` alone, so they pair by it."""

    train_seed: int
    generation_seed: int

    @property
    def name(self) -> str:
        return f"t{self.train_seed}-g{self.generation_seed}"

    def shifted(self, offset: int) -> Replicate:
        """The same replicate with other seeds: what an A/A arm runs."""
        return Replicate(train_seed=self.train_seed + offset, generation_seed=self.generation_seed + offset)


class Arm(Spec):
    """Named edits of another arm (`of`; the control when None), by recipe path."""

    name: Name
    edits: dict[str, Any]
    of: Name | None = None
    seed_offset: int = Field(default=0, json_schema_extra=INERT)
    """Added to every seed of every replicate: an A/A arm is `edits={}` with an offset, and shows the noise."""


class Claim(Spec):
    """A tested statement: `arm` against `against`, which may differ in `factor` alone."""

    id: Name
    statement: str
    factor: str
    """Recipe path of the only thing that differs."""
    metric: str
    """A suite's name, or a group: linguistic, reasoning; or perplexity."""
    arm: Name
    against: Name
    direction: Literal["greater", "less", "different"]
    margin: Annotated[float, Field(ge=0.0)]
    """In the metric's unit (points; perplexity in %): what must be exceeded to matter."""


class Design(Spec):
    """One scale of an ablation."""

    control: Name
    """Name of the control arm, which is `recipe` itself."""
    recipe: Recipe
    arms: tuple[Arm, ...]
    replicates: tuple[Replicate, ...] = Field(min_length=1)
    claims: tuple[Claim, ...]

    def arm_names(self) -> tuple[str, ...]:
        return (self.control, *(arm.name for arm in self.arms))

    def replicates_of(self, arm: str) -> tuple[Replicate, ...]:
        """The replicates as this arm runs them; position i of every arm is one pair."""
        offset = next((a.seed_offset for a in self.arms if a.name == arm), 0)
        return tuple(replicate.shifted(offset) for replicate in self.replicates)

    def recipes(self) -> dict[str, Recipe]:
        """Every arm's whole recipe by name, control first. Raises `InputError` with all faults of all arms."""
        recipes = {self.control: self.recipe}
        faults: list[str] = []
        faulty: set[str] = set()  # arms without a recipe; an arm made from one has none either, by no fault of its own
        for arm in self.arms:
            if arm.of in faulty:
                faulty.add(arm.name)
                continue
            base = recipes.get(arm.of or self.control)
            if base is None:
                faulty.add(arm.name)
                known = list(recipes)
                faults.append(f"arm {arm.name}: of={arm.of!r} is no earlier arm; {did_you_mean(str(arm.of), known)}")
                continue
            try:
                recipes[arm.name] = edit(base, arm.edits, f"arm {arm.name}")
            except InputError as error:
                faulty.add(arm.name)
                faults += error.faults
        if faults:
            raise InputError(faults)
        return recipes

    def edited(self, edits: Mapping[str, Any]) -> Design:
        """The design with every arm edited (`--set`); what an arm itself edits stays as it says.

        A path of the control recipe edits that, and so every arm. A path that only some arms have (a leaf of
        `synthetic`) edits those. A path that no arm has is an `InputError`; it holds the faults of all edits.
        """
        known = set(paths(dump(self.recipe)))
        faults: list[str] = []
        design = self
        try:
            shared = {path: value for path, value in edits.items() if path in known}
            design = self.model_copy(update={"recipe": edit(self.recipe, shared, "--set")})
        except InputError as error:
            faults += error.faults
        others = {path: value for path, value in edits.items() if path not in known}
        if others:
            try:
                design = design._with_arms_edited(others)
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(faults)
        return design

    def _with_arms_edited(self, edits: Mapping[str, Any]) -> Design:
        """The design with those arms edited that have the paths, none of which the control has."""
        recipes = self.recipes()
        present = {name: set(paths(dump(recipe))) for name, recipe in recipes.items()}
        fullest = max(present, key=lambda name: len(present[name]))
        elsewhere = set().union(*present.values()) - present[fullest]
        edit(recipes[fullest], {p: v for p, v in edits.items() if p not in elsewhere}, "--set")  # raises
        arms = tuple(_more_edits(arm, edits, present, self.control) for arm in self.arms)
        return self.model_copy(update={"arms": arms})


def _more_edits(arm: Arm, edits: Mapping[str, Any], present: Mapping[str, set[str]], control: str) -> Arm:
    """The arm with those edits whose path it has and its base lacks; arms made from it inherit them."""
    new = present[arm.name] - present[arm.of or control]
    return arm.model_copy(update={"edits": arm.edits | {p: v for p, v in edits.items() if p in new}})


class Ablation(Spec):
    """A registered experiment. `version` is bumped by hand when `designs` change in meaning."""

    name: Name
    version: Positive
    question: str
    designs: dict[Name, Design] = Field(min_length=1)
    """By scale: smoke, small, paper, ..."""

    def design(self, scale: str) -> Design:
        if scale not in self.designs:
            known = list(self.designs)
            raise InputError(f"{self.name} has no scale {scale!r}; {did_you_mean(scale, known)}")
        return self.designs[scale]


def design_faults(design: Design, where: str) -> list[str]:
    """Every fault of a design: names, edits, cross-field rules of every arm, claims."""
    names = list(design.arm_names())
    faults = [f"{where}: two arms are named {n!r}" for n in sorted({n for n in names if names.count(n) > 1})]
    ids = [claim.id for claim in design.claims]
    faults += [f"{where}: two claims have the id {i!r}" for i in sorted({i for i in ids if ids.count(i) > 1})]
    if len(set(design.replicates)) < len(design.replicates):
        faults.append(f"{where}: a replicate is listed twice; every replicate needs seeds of its own")
    try:
        recipes = design.recipes()
    except InputError as error:
        return faults + [f"{where}: {fault}" for fault in error.faults]
    arms_of: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        for fault in recipe_faults(recipe):
            arms_of.setdefault(fault, []).append(name)
    for fault, arms in arms_of.items():  # a fault of the control is one of every arm
        faults.append(f"{where}: {'arm' if len(arms) == 1 else 'arms'} {', '.join(arms)}: {fault}")
    if len({_shared_identity(recipe) for recipe in recipes.values()}) > 1:
        faults.append(
            f"{where}: arms differ in corpus or tokenizer, so their models cannot be compared or contrasted; "
            "let arms differ in other fields"
        )
    for claim in design.claims:
        faults += [f"{where}: claim {claim.id}: {fault}" for fault in claim_faults(claim, design)]
    return faults


def claim_faults(claim: Claim, design: Design) -> list[str]:
    """Law 6: the arms of a claim differ in its factor and in nothing else (in their normal forms), seeds included.

    Raises `InputError` when the design's own arms are faulty.
    """
    recipes = design.recipes()
    unknown = [name for name in (claim.arm, claim.against) if name not in recipes]
    if unknown:
        return [f"unknown arm {name!r}; {did_you_mean(name, list(recipes))}" for name in unknown]
    metrics = metrics_of(recipes[claim.arm])
    faults = []
    if claim.metric not in metrics:
        faults.append(f"metric={claim.metric!r} is not measured; {did_you_mean(claim.metric, metrics)}")
    arms = f"arms {claim.arm} and {claim.against}"
    paired = design.replicates_of(claim.arm) == design.replicates_of(claim.against)
    if not paired:
        faults.append(
            f"{arms} have other seeds, so they cannot be paired; an A/A arm is the noise floor and is compared, "
            "but carries no claim"
        )
    one, other = recipes[claim.arm], recipes[claim.against]
    differing = differing_paths(dump(normal(one)), dump(normal(other)))
    if not differing:
        return [*faults, f"{arms} are the same computation; nothing can differ"] if paired else faults
    if _is_branch(normal(one), normal(other), claim.factor):
        faults.append(
            f"factor={claim.factor} is a whole object in both arms; name the leaf that differs: {', '.join(differing)}"
        )
    elif not (_differs_only(one, other, claim.factor) or _differs_only(other, one, claim.factor)):
        faults.append(
            f"{arms} must differ in factor={claim.factor} alone, "
            f"but they differ in {', '.join(differing)}; compare other arms or name the factor that differs"
        )
    return faults


def differing_paths(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Dotted paths at which two JSON-like values differ; a variant that is absent on one side is one path."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                found.append(prefix + key)
            else:
                found += differing_paths(one[key], other[key], f"{prefix}{key}.")
        return found
    return [] if one == other else [prefix.rstrip(".") or "value"]


def _is_branch(one: Recipe, other: Recipe, factor: str) -> bool:
    """True when both hold an object of one kind at `factor`: several of its leaves may differ."""
    here, there = _value_at(one, factor), _value_at(other, factor)
    return isinstance(here, dict) and isinstance(there, dict) and here.get("kind") == there.get("kind")


def _differs_only(one: Recipe, other: Recipe, factor: str) -> bool:
    """True when `one` with its factor set to the other's value is the other's computation."""
    value = _value_at(other, factor)
    if value is _ABSENT:
        return False
    try:
        return normal(edit(one, {factor: value})) == normal(other)
    except InputError:
        return False


def _value_at(recipe: Recipe, path: str) -> Any:
    value: Any = dump(recipe)
    for part in path.split("."):
        value = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
    return value


def _shared_identity(recipe: Recipe) -> str:
    return digest([recipe.corpus.canonical(), recipe.tokenizer.canonical()])
