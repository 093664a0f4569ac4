"""What a store could do without: found without touching anything, removed item by item.

Leftovers of dead processes, stages that nothing needs (`ablab.runner.retention`), and checkpoints of real-only
trainings that are neither the last, nor the best, nor declared by a recorded run or a pinned version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablab.errors import InputError
from ablab.registry.process import is_dead
from ablab.registry.registry import LEASE_SECONDS, Registry
from ablab.runner.retention import Needs
from ablab.store import Store
from ablab.store.pruned import checkpoint_folder, pruned_steps
from ablab.store.removal import (
    attempts_of,
    finish_pruning,
    remove_checkpoints,
    remove_leftovers,
    remove_stage,
    remove_tree,
)
from ablab.train.select import choose

Group = Literal["killed", "attempts", "work", "damaged", "stages", "checkpoints"]
WHY: dict[Group, str] = {
    "killed": "was being removed when its process was killed",
    "attempts": "half-written files of a dead process",
    "work": "kept to resume a stage that is finished, or that no recorded run and no pinned version needs",
    "damaged": "a damaged stage that was set aside",
    "stages": "no recorded run and no pinned version needs it",
    "checkpoints": "neither the last nor the best, and no recorded run or pinned version declares it",
}


@dataclass(frozen=True)
class Item:
    """One thing that can be removed."""

    group: Group
    what: str
    """For people: 'train 3f2a91c04d5e step 500'."""
    paths: tuple[Path, ...]
    key: str = ""
    kind: str = ""
    step: int | None = None


@dataclass(frozen=True)
class Garbage:
    """What was found, in the order in which it is removed."""

    items: list[Item] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    """What is not needed, but a living process is at it: left alone."""


def find_garbage(store: Store, needs: Needs, registry: Registry) -> Garbage:
    """Everything that may be removed now. Raises `InputError` for trainings that cannot be read."""
    garbage = Garbage()
    finished = list(store.finished())

    def free(key: str, what: str) -> bool:
        if not (_leased(registry, key) or store.is_locked(key)):
            return True
        garbage.busy.append(what)
        return False

    garbage.items.extend(_killed(store, finished))
    whole = {
        key for kind, key in finished if not pruned_steps(store.directory(kind, key)) & needs.steps.get(key, set())
    }
    garbage.items.extend(_leftovers(store, needs, whole, free))
    for path in sorted((store.root / ".damaged").glob("*")):
        garbage.items.append(Item("damaged", f"damaged {path.name[:24]}", (path,)))
    for kind, key in finished:
        what = f"{kind} {key[:12]}"
        if key not in needs.stages and free(key, what):
            garbage.items.append(Item("stages", what, (store.directory(kind, key),), key, kind))
    garbage.items.extend(_checkpoints(store, needs, free))
    return garbage


def remove(store: Store, items: list[Item], tell: Callable[[str], None]) -> list[Item]:
    """Remove items; those that were removed. What a living process has taken up meanwhile is told and left."""
    done: list[Item] = []
    steps: dict[str, list[Item]] = {}
    for item in items:
        if item.group == "checkpoints":
            steps.setdefault(item.key, []).append(item)
        elif _remove(store, item):
            done.append(item)
        else:
            tell(f"{item.what}: a process is at it now; left")
    for key, of in steps.items():
        if remove_checkpoints(store, key, [item.step for item in of if item.step is not None]):
            done += of
        else:
            tell(f"train {key[:12]}: a process is at it now; left")
    return done


def _remove(store: Store, item: Item) -> bool:
    if item.group == "stages":
        return remove_stage(store, item.kind, item.key)
    if item.group in ("work", "attempts"):
        return remove_leftovers(store, item.key, work=item.group == "work")
    if item.step is not None:
        return finish_pruning(store, item.key)
    for path in item.paths:
        remove_tree(path)
    return True


def _leased(registry: Registry, key: str) -> bool:
    """A process that may be alive has the lease on a stage."""
    holder = registry.holder(key)
    return holder is not None and holder.silent_seconds < LEASE_SECONDS and not is_dead(holder.owner.process)


def _killed(store: Store, finished: list[tuple[str, str]]) -> Iterator[Item]:
    """What has left the store already, and checkpoints that are recorded as removed."""
    for path in sorted((store.root / ".trash").glob("*")):
        yield Item("killed", f"removed {path.name[:24]}", (path,))
    for kind, key in finished:
        directory = store.directory(kind, key)
        for step in sorted(pruned_steps(directory)):
            path = directory / checkpoint_folder(step)
            if path.exists():
                yield Item("killed", f"{kind} {key[:12]} step {step}", (path,), key, kind, step)


def _leftovers(store: Store, needs: Needs, whole: set[str], free: Callable[[str, str], bool]) -> Iterator[Item]:
    works = {path.name: path for path in (store.root / ".work").glob("*") if path.is_dir()}
    tries = {path.name.partition("_")[0] for path in (store.root / ".attempts").glob("*_*")}
    for key in sorted(works.keys() | tries):
        what = f"work of {key[:12]}"
        if not free(key, what):
            continue
        paths = tuple(attempts_of(store, key))
        if key in works and (key in whole or key not in needs.stages):
            yield Item("work", what, (*paths, works[key]), key)
        elif paths:
            yield Item("attempts", f"attempt at {key[:12]}", paths, key)


def _checkpoints(store: Store, needs: Needs, free: Callable[[str, str], bool]) -> Iterator[Item]:
    faults: list[str] = []
    for kind, key in store.finished():
        if kind != "train" or key not in needs.stages or key in needs.whole:
            continue
        directory = store.directory(kind, key)
        try:
            found = _removable_steps(store.identity(kind, key), store.result(kind, key), needs.steps.get(key, set()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            faults.append(
                f"{directory} cannot be read ({type(error).__name__}: {error}); run its ablation again, or remove that "
                "folder: the training is computed anew"
            )
            continue
        steps = found - pruned_steps(directory)
        if steps and free(key, f"{kind} {key[:12]}"):
            for step in sorted(steps):
                path = directory / checkpoint_folder(step)
                yield Item("checkpoints", f"{kind} {key[:12]} step {step}", (path,), key, kind, step)
    if faults:
        raise InputError(faults)


def _removable_steps(identity: dict[str, Any], result: dict[str, Any], declared: set[int]) -> set[int]:
    """Of a training on real text only, which kept every checkpoint."""
    if identity["params"]["share"] != 0.0 or "until" in identity["inputs"]:
        return set()
    checkpoints = result["checkpoints"]
    kept = {choose({"kind": rule}, checkpoints)["step"] for rule in ("last-step", "lowest-validation-loss")}
    return {int(one["step"]) for one in checkpoints} - kept - declared
