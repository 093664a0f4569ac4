"""What a store must keep: the stages and checkpoints that recorded executions and pinned versions need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablab.corpora.resolve import Resolver
from ablab.errors import InputError
from ablab.registry.versions import Pinned
from ablab.runner.prepare import resolve_design, resolver_of
from ablab.settings import Settings
from ablab.spec.ablation import Design
from ablab.spec.base import build
from ablab.spec.checkpoints import steps_needed
from ablab.spec.lower import Lowered, lower
from ablab.spec.manipulation import lower_design
from ablab.store import Store
from ablab.store.executions import Execution


@dataclass
class Needs:
    """What must stay."""

    stages: set[str] = field(default_factory=set)
    """Keys, whether they are in the store or not."""
    steps: dict[str, set[int]] = field(default_factory=dict)
    """Declared checkpoints by the key of their training, beside its last and its best."""
    whole: set[str] = field(default_factory=set)
    """Trainings of which every checkpoint stays, because it cannot be said which are needed."""
    notes: list[str] = field(default_factory=list)
    """What could not be found out, for people."""

    def add_steps(self, key: str, steps: Iterable[int]) -> None:
        self.steps.setdefault(key, set()).update(steps)


def find_needs(store: Store, executions: Iterable[Execution], pinned: Iterable[Pinned], settings: Settings) -> Needs:
    """The needs of these executions and versions. Raises `InputError` for needed stages that cannot be read."""
    needs = Needs()
    for record in executions:
        _add_execution(needs, record)
    with resolver_of(settings) as resolver:
        for version in pinned:
            _add_version(needs, version, resolver)
    _add_inputs(needs, store)
    return needs


def _add_execution(needs: Needs, record: Execution) -> None:
    for roles in (roles for replicates in record.roles.values() for roles in replicates):
        needs.stages |= {key for _, key in roles.values()}
    try:
        for recorded, lowered in _lowered_again(record):
            _add_recorded_steps(needs, recorded, lowered)
    except (InputError, LookupError) as error:
        trainings = {
            key for one in record.roles.values() for roles in one for kind, key in roles.values() if kind == "train"
        }
        needs.whole |= trainings
        needs.notes.append(
            f"run {record.id[:12]} of {record.label} was recorded by another ablab ({error}): every checkpoint of its "
            f"{len(trainings)} trainings is kept"
        )


def _lowered_again(record: Execution) -> Iterator[tuple[Mapping[str, tuple[str, str]], Lowered]]:
    """The recorded roles of every arm and replicate, and the stages of the same shape.

    The recorded design is lowered without its data: keys are provisional then, roles and declared steps are not.
    """
    design = build(Design, record.design, record.label)
    recipes = design.recipes()
    for arm, replicates in record.roles.items():
        for position, roles in enumerate(replicates):
            yield roles, lower(recipes[arm], design.replicates_of(arm)[position])


def _add_recorded_steps(needs: Needs, recorded: Mapping[str, tuple[str, str]], lowered: Lowered) -> None:
    role_of = {stage.key: role for role, stage in lowered.roles.items()}
    for stage in lowered.roles.values():
        for name, steps in steps_needed(stage).items():
            if steps:
                needs.add_steps(recorded[role_of[stage.inputs[name].key]][1], steps)


def _add_version(needs: Needs, version: Pinned, resolver: Resolver) -> None:
    one = version.ablation
    for scale, design in one.designs.items():
        recipes, faults = resolve_design(design, resolver)
        if faults:
            more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
            needs.notes.append(
                f"{one.name}@{one.version} at {scale}: its stages cannot be named, because its data is not here: "
                f"{faults[0]}{more}; of them only what recorded runs need is kept"
            )
        for lowered in (one for of in lower_design(design, recipes).values() for one in of):
            for stage in lowered.stages():
                needs.stages.add(stage.key)
                for name, steps in steps_needed(stage).items():
                    needs.add_steps(stage.inputs[name].key, steps)


def _add_inputs(needs: Needs, store: Store) -> None:
    """Everything below what is needed, through the inputs that finished stages record."""
    kinds = {key: kind for kind, key in store.finished()}
    faults: list[str] = []
    waiting = sorted(needs.stages & kinds.keys())
    while waiting:
        key = waiting.pop()
        try:
            below = set(_inputs(store, kinds[key], key))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            faults.append(
                f"{store.directory(kinds[key], key)} is needed, and cannot be read ({type(error).__name__}: {error}); "
                "run its ablation again, or remove that folder: the stage is computed anew"
            )
            continue
        waiting += sorted((below - needs.stages) & kinds.keys())
        needs.stages |= below
    if faults:
        raise InputError(faults)


def _inputs(store: Store, kind: str, key: str) -> Iterable[str]:
    inputs: dict[str, Any] = store.identity(kind, key)["inputs"]
    return map(str, inputs.values())
