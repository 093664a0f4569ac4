"""From a name to a plan: choose, edit, check, resolve, lower. Everything that can be wrong is said here, at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablab.corpora.resolve import resolve_recipe
from ablab.errors import InputError
from ablab.registry.versions import resolve_name
from ablab.runner.plan import Plan, make_plan
from ablab.settings import Settings, redact
from ablab.spec.ablation import Ablation, Design, design_faults
from ablab.spec.canonical import digest
from ablab.spec.edit import edit
from ablab.spec.placement import Numerics, Placement
from ablab.spec.recipe import Recipe
from ablab.store import Store
from ablab.store.store import check_writable

MAX_JOBS = 8


@dataclass(frozen=True)
class Prepared:
    """A run that has been checked and planned; nothing has been computed."""

    ablation: Ablation
    label: str
    scale: str
    edits: dict[str, Any]
    design: Design
    plan: Plan
    placement: Placement
    store: Store
    notes: tuple[str, ...] = ()
    """What a plan could not know: data that is not there yet. Keys are provisional then."""

    @property
    def design_digest(self) -> str:
        """Identity of what is run: the edited, unresolved design."""
        return digest(self.design.canonical())


def prepare(
    settings: Settings,
    name: str,
    scale: str,
    edits: Mapping[str, Any],
    placement: Placement,
    *,
    plan_only: bool = False,
) -> Prepared:
    """Check everything and plan. Raises one `InputError` with every fault; computes nothing.

    With `plan_only` data that is not there is a note, not a fault: a study can be costed before it is fetched.
    """
    chosen = resolve_name(settings.project, name)
    design = chosen.ablation.design(scale).edited(edits)
    faults = design_faults(design, f"{chosen.label} at {scale}")
    if faults:
        raise InputError(faults)
    recipes, missing = resolve_design(design, settings)
    if missing and not plan_only:
        raise InputError(missing)
    store = open_store(settings)
    if not plan_only:
        check_writable(store.root)
    plan = make_plan(design, recipes, store, placement.numerics)
    return Prepared(chosen.ablation, chosen.label, scale, dict(edits), design, plan, placement, store, tuple(missing))


def open_store(settings: Settings) -> Store:
    """The store of the settings."""
    if "://" in settings.store:
        raise InputError(f"ABLAB_STORE={redact(settings.store)} must be a folder; mount the object store or give a path")
    return Store(Path(settings.store))


def resolve_design(design: Design, settings: Settings) -> tuple[dict[str, Recipe], list[str]]:
    """Every arm's recipe with content digests in place of paths, and the faults of all of them together."""
    resolved = design.recipes()
    faults: list[str] = []
    for name, recipe in resolved.items():
        try:
            resolved[name] = resolve_recipe(recipe, settings.data, settings.home / "digests.json")
        except InputError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    return resolved, faults


def default_placement(jobs: int | None, numerics: Mapping[str, Any]) -> Placement:
    """One worker per core (one per GPU), threads divided among them; `numerics` overrides single fields."""
    device = "cuda" if Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != "" else "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs is None:
        jobs = 1 if device == "cuda" else min(cores, MAX_JOBS)
    if jobs < 1:
        raise InputError(f"--jobs={jobs} must be at least 1")
    base = Numerics(threads=max(1, cores // jobs), device=device)
    return Placement(jobs=jobs, numerics=edit(base, numerics, "--numerics"))
