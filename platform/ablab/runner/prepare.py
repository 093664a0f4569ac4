"""From a name to a plan: choose, edit, check, resolve, lower. Everything that can be wrong is said here, at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablab.corpora.filecheck import FactCache
from ablab.corpora.resolve import Resolver
from ablab.errors import InputError, collecting, did_you_mean
from ablab.registry.database import Database
from ablab.registry.registry import open_registry
from ablab.registry.versions import resolve_name
from ablab.runner.line import ErrorLine
from ablab.runner.machine import check_machine, default_placement
from ablab.runner.plan import Plan, make_plan
from ablab.settings import Settings, redact
from ablab.spec.ablation import Ablation, Design, design_faults
from ablab.spec.canonical import digest
from ablab.spec.placement import Numerics, Placement, training_faults
from ablab.spec.recipe import Recipe
from ablab.store import Store
from ablab.store.store import check_writable
from ablab.tracking import Tracker, model_name

QUIET_S = 2.0  # of reading texts before a word is said of it

Purpose = Literal["plan", "read", "run"]


@dataclass(frozen=True)
class Part:
    """Some arms and the first replicates of a design: a pilot, or one machine's part of the work."""

    arms: tuple[str, ...] = ()
    """Beside the control; empty for all."""
    replicates: int | None = None
    """How many of the first; None for all."""

    def checked(self, design: Design) -> Part:
        """This part with its control. Raises one `InputError` for arms and numbers that the design has not."""
        known, count = design.arm_names(), len(design.replicates)
        faults = [f"--arms: {name!r} is no arm; {did_you_mean(name, known)}" for name in self.arms if name not in known]
        if self.replicates is not None and not 1 <= self.replicates <= count:
            faults.append(f"--replicates={self.replicates} must be 1 to {count}, the number that is declared")
        if faults:
            raise InputError(faults)
        wanted = {design.control, *self.arms} if self.arms else set(known)
        return Part(tuple(name for name in known if name in wanted), self.replicates)


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
    corpora: tuple[str, ...] = ()
    """The train words of every corpus of the arms and their budget, one line each; none while data is missing."""

    def recipes(self) -> dict[str, Recipe]:
        """Of the arms that are planned."""
        return {name: recipe for name, recipe in self.design.recipes().items() if name in self.plan.arms}

    @property
    def design_digest(self) -> str:
        """Identity of what is run: the edited, unresolved design."""
        return digest(self.design.canonical())


def prepare(
    settings: Settings,
    name: str,
    scale: str,
    edits: Mapping[str, Any],
    *,
    jobs: int | None = None,
    numerics: Mapping[str, Any] | None = None,
    generation_workers: int = 1,
    purpose: Purpose = "read",
    part: Part | None = None,
    known: Iterable[str] = (),
) -> Prepared:
    """Check everything and plan. Raises one `InputError` with every fault; computes nothing.

    To `plan`, data that is not there is a note, not a fault: a study can be costed before it is fetched. To `run`,
    registry and tracking are reached too. part: the arms and replicates to plan, all by default. known: faults that
    the caller has found, to be told with the others.
    """
    faults, placement = list(known), None
    with collecting(faults):
        placement = default_placement(jobs, numerics or {}, generation_workers, settings.hostfile)
        if purpose == "run":
            check_machine(placement)
    missing: list[str] = []
    models: list[str] = []
    with collecting(faults):
        chosen = resolve_name(settings.project, name)
        design = _design(chosen.ablation, scale, edits)
        if found := design_faults(design, f"{chosen.label} at {scale}"):
            raise InputError(found)
        faults += _placement_faults(design, placement.numerics) if placement else []
        part = (part or Part()).checked(design)
        models = [model_name(chosen.ablation.name, scale, arm) for arm in part.arms or design.arm_names()]
        with resolver_of(settings) as resolver:
            recipes, missing = resolve_design(design, resolver, part.arms)
        if purpose != "plan":
            faults += missing
    with collecting(faults):
        store = open_store(settings)
        if purpose != "plan":
            check_writable(store.root if not faults else _nearest(store.root))
    if purpose == "run":
        _reach(settings, name.partition("@")[0], models, faults)
    if faults:
        raise InputError(faults)
    plan = make_plan(design, recipes, store, placement.numerics, part.replicates if part else None)
    if purpose == "run" and (long := plan.long_items(store)):
        raise InputError(long)
    declared = [recipe for name, recipe in design.recipes().items() if name in recipes]
    corpora = () if missing else tuple(dict.fromkeys(map(resolver.corpus_line, declared)))
    return Prepared(
        chosen.ablation, chosen.label, scale, dict(edits), design, plan, placement, store, tuple(missing), corpora
    )


def _placement_faults(design: Design, numerics: Numerics) -> list[str]:
    """Why trainings of the design cannot be placed so, each reason once."""
    shapes = {(r.schedule.tokens_per_step, r.model.context, r.precision) for r in design.recipes().values()}
    return [fault for shape in sorted(shapes) for fault in training_faults(numerics, *shape)]


def _design(ablation: Ablation, scale: str, edits: Mapping[str, Any]) -> Design:
    """The edited design. Beside an unknown scale, those edits are told that no design takes."""
    faults: list[str] = []
    with collecting(faults):
        return ablation.design(scale).edited(edits)
    if scale not in ablation.designs:
        refused: list[list[str]] = []
        for design in ablation.designs.values():
            refused.append([])
            with collecting(refused[-1]):
                design.edited(edits)
        faults += refused[0] if refused and all(refused) else []
    raise InputError(faults)


def _reach(settings: Settings, ablation: str, models: list[str], faults: list[str]) -> None:
    """Registry and tracking, before work. Beside other faults no database is created and no model is registered."""
    with collecting(faults):
        path = Database(settings.registry_url).path
        if not faults or path is None or path.exists():
            open_registry(settings.registry_url).close()
    with collecting(faults):
        Tracker.of(settings).check(ablation, models=() if faults else models)


def _nearest(folder: Path) -> Path:
    """The folder itself or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def open_store(settings: Settings) -> Store:
    """The store of the settings."""
    if "://" in settings.store:
        raise InputError(
            f"ABLAB_STORE={redact(settings.store)} must be a folder; mount the object store or give a path"
        )
    return Store(Path(settings.store))


@contextmanager
def resolver_of(settings: Settings) -> Iterator[Resolver]:
    """Resolves from the data of the settings, and remembers what is known of files. Long reading is told on stderr,
    on a line that ends with the block: faults are told behind it."""
    line = ErrorLine(QUIET_S)
    try:
        yield Resolver(settings.data, FactCache(settings.home / "digests.json", line))
    finally:
        line.close()


def resolve_design(
    design: Design, resolver: Resolver, arms: Sequence[str] | None = None
) -> tuple[dict[str, Recipe], list[str]]:
    """The arms' recipes with content digests in place of paths, and the faults of all of them together."""
    resolved = {name: recipe for name, recipe in design.recipes().items() if arms is None or name in arms}
    faults: list[str] = []
    for name, recipe in resolved.items():
        try:
            resolved[name] = resolver.resolve(recipe)
        except InputError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    return resolved, faults
