"""Results read from the store: nothing is computed that the store does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablab.analysis import Comparison, compare
from ablab.analysis.corpora import identical_corpora, shrunk_sources
from ablab.errors import RunError
from ablab.runner.plan import Plan
from ablab.spec.ablation import Design, differing_paths
from ablab.spec.canonical import canonical_json
from ablab.spec.edit import dump
from ablab.spec.normal import normal
from ablab.spec.recipe import Recipe
from ablab.spec.synthetic import EarlyCheckpoint, SmallerModel
from ablab.store import Store
from ablab.store.executions import Roles

MODELS = ("good_evaluate", "bad_evaluate")


def roles_of(plan: Plan) -> Roles:
    """(kind, key) of every stage of a plan by arm, position of the replicate and role."""
    return {
        arm: [{role: (stage.kind, stage.key) for role, stage in lowered.roles.items()} for lowered in replicates]
        for arm, replicates in plan.arms.items()
    }


def compare_roles(design: Design, roles: Roles, store: Store) -> Comparison:
    """The comparison of whatever is finished; missing arms and replicates are listed in it."""
    floors = (_directory(one.get("floor"), store) for replicates in roles.values() for one in replicates)
    floor = next((directory for directory in floors if directory is not None), None)
    models = {
        name: [directory for stage in stages if (directory := _directory(stage, store)) is not None]
        for name, stages in reference_stages(design, roles).items()
    }
    curves = evaluated(design, roles, store, "curve")
    results, same = evaluated(design, roles, store), identical_corpora(roles, store)
    found = compare(design, results, floor=floor, models=models, curves=curves, identical=same)
    return replace(found, notes=(*found.notes, *shrunk_sources(roles, store)))


def evaluated(design: Design, roles: Roles, store: Store, role: str = "evaluate") -> dict[str, list[Path | None]]:
    """Verified directories of a role by arm and replicate position; None for what is not finished."""
    count = len(design.replicates)
    return {
        arm: [_directory(one.get(role), store) for one in replicates] + [None] * (count - len(replicates))
        for arm, replicates in roles.items()
    }


def reference_stages(design: Design, roles: Roles) -> dict[str, tuple[tuple[str, str], ...]]:
    """Evaluations of every distinct GOOD and BAD by what it is: 'GOOD', 'BAD step 500', 'BAD r100'; GOODs first.

    One name has several where every replicate trains a GOOD of its own. Two different models that would have one name
    are told apart by the first arm that uses each. Attention dropout has GOOD's weights and no evaluation of its own.
    """
    recipes = design.recipes()
    found: dict[str, dict[tuple[tuple[str, str], ...], str]] = {}  # arm by stages by name
    for role in MODELS:
        for arm, replicates in roles.items():
            stages = tuple(dict.fromkeys(one[role] for one in replicates if role in one))
            if stages:
                name = "GOOD" if role == "good_evaluate" else f"BAD {_bad_words(recipes[arm])}"
                found.setdefault(name, {}).setdefault(stages, arm)
    return {
        name if len(by_stages) == 1 else f"{name} ({arm})": stages
        for name, by_stages in found.items()
        for stages, arm in by_stages.items()
    }


def _bad_words(recipe: Recipe) -> str:
    """What a BAD with weights of its own is."""
    bad = recipe.synthetic.bad if recipe.synthetic else None
    match bad:
        case EarlyCheckpoint():
            return f"step {bad.step}"
        case SmallerModel():
            return bad.size
    raise ValueError(f"no BAD with weights of its own: {bad}")


def results_folder(home: Path, label: str, scale: str, design_digest: str) -> Path:
    """Results of one design lie together, whoever ran it and however often."""
    return home / "results" / label / f"{scale}-{design_digest[:12]}"


def factors(design: Design, arm: str) -> dict[str, str]:
    """What distinguishes the arms: every leaf at which any arm differs from the control, and its value in this arm."""
    trees = {name: dump(normal(recipe)) for name, recipe in design.recipes().items()}
    differing = {path for tree in trees.values() for path in differing_paths(trees[design.control], tree)}
    leaves = {leaf for path in differing for tree in trees.values() for leaf in _leaves(tree, path)}
    values = {path: _at(trees[arm], path) for path in sorted(leaves)}
    return {path: value if isinstance(value, str) else canonical_json(value) for path, value in values.items()}


def _directory(stage: tuple[str, str] | None, store: Store) -> Path | None:
    """The verified directory of a finished stage, None when it is not there."""
    if stage is None or not store.has(*stage):
        return None
    faults = store.faults(*stage)
    if faults:
        aside = store.set_aside(*stage)
        raise RunError(
            f"{stage[0]} {stage[1][:12]} is damaged ({'; '.join(faults)}); it was moved "
            + (f"to {aside}" if aside else "away by another process"),
            "run the ablation again: it is computed anew",
        )
    return store.directory(*stage)


def _leaves(tree: Any, path: str) -> Iterator[str]:
    node = _at(tree, path)
    if isinstance(node, dict):
        for key in node:
            yield from _leaves(tree, f"{path}.{key}")
    elif node is not None or "." not in path:
        yield path


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
