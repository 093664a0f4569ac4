"""From a name to a plan: choose, edit, check, resolve, lower. Everything that can be wrong is said here, at once."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from ablab.corpora.filecheck import FactCache
from ablab.corpora.resolve import Resolver
from ablab.errors import InputError, did_you_mean
from ablab.registry.database import Database
from ablab.registry.registry import open_registry
from ablab.registry.versions import resolve_name
from ablab.runner.compiling import can_compile, compiling_fault
from ablab.runner.line import ErrorLine
from ablab.runner.plan import Plan, make_plan
from ablab.settings import Settings, redact
from ablab.spec.ablation import Ablation, Design, design_faults
from ablab.spec.canonical import digest
from ablab.spec.edit import edit
from ablab.spec.hostfile import parse_hostfile
from ablab.spec.placement import Numerics, Placement, training_faults
from ablab.spec.recipe import Recipe
from ablab.store import Store
from ablab.store.store import check_writable
from ablab.tracking import Tracker

MAX_JOBS, JOBS_PER_CORE = 8, 4
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
    with collecting(faults):
        chosen = resolve_name(settings.project, name)
        design = _design(chosen.ablation, scale, edits)
        if found := design_faults(design, f"{chosen.label} at {scale}"):
            raise InputError(found)
        faults += _placement_faults(design, placement.numerics) if placement else []
        part = (part or Part()).checked(design)
        resolver = resolver_of(settings)
        recipes, missing = resolve_design(design, resolver, part.arms)
        if purpose != "plan":
            faults += missing
    with collecting(faults):
        store = open_store(settings)
        if purpose != "plan":
            check_writable(store.root if not faults else _nearest(store.root))
    if purpose == "run":
        _reach(settings, name.partition("@")[0], faults)
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


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Adds the faults of an `InputError` to `faults` and goes on behind the block."""
    try:
        yield
    except InputError as error:
        faults += [fault for fault in error.faults if fault not in faults]


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


def _reach(settings: Settings, ablation: str, faults: list[str]) -> None:
    """Registry and tracking, before work. Beside other faults no database is created."""
    with collecting(faults):
        path = Database(settings.registry_url).path
        if not faults or path is None or path.exists():
            open_registry(settings.registry_url).close()
    with collecting(faults):
        Tracker.of(settings).check(ablation)


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


def resolver_of(settings: Settings) -> Resolver:
    """Resolves from the data of the settings, and remembers what is known of files. Long reading is told on stderr."""
    return Resolver(settings.data, FactCache(settings.home / "digests.json", ErrorLine(QUIET_S)))


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


def default_placement(
    jobs: int | None, numerics: Mapping[str, Any], generation_workers: int = 1, hostfile: str = ""
) -> Placement:
    """One worker per core (one per GPU, or for all machines of a hostfile), threads divided among them; `numerics`
    overrides single fields. The processes of a generation divide the threads of its worker."""
    device = "cuda" if has_gpu() else "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs is None:
        jobs = 1 if device == "cuda" or hostfile else min(cores, MAX_JOBS)
    faults: list[str] = []
    if jobs < 1:
        faults.append(f"--jobs={jobs} must be at least 1")
    elif jobs > JOBS_PER_CORE * cores:
        faults.append(f"--jobs={jobs} is too many for {cores} cores; use at most {JOBS_PER_CORE * cores}")
    if generation_workers < 1:
        faults.append(f"--generation-workers={generation_workers} must be at least 1")
    base = Numerics(threads=max(1, cores // max(1, jobs)), device=device, compile="long" if can_compile() else "never")
    with collecting(faults):
        base = edit(base, {path: _read_settings(path, value) for path, value in numerics.items()}, "--numerics")
    with collecting(faults):
        base = _on_hosts(base, Path(hostfile)) if hostfile else base
    faults += compiling_fault(base)
    if faults:
        raise InputError(faults)
    if generation_workers > 1 and base.generation_threads is None:
        base = base.model_copy(update={"generation_threads": max(1, base.threads // generation_workers)})
    return Placement(jobs=jobs, hostfile=hostfile or None, generation_workers=generation_workers, numerics=base)


def _read_settings(path: str, value: Any) -> Any:
    """The content of a JSON file that stands in place of settings for DeepSpeed."""
    if path != "deepspeed" or not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"--numerics deepspeed={value}: not a file of JSON that can be read ({error})") from error


def _on_hosts(numerics: Numerics, hostfile: Path) -> Numerics:
    """A process for every slot of the machines."""
    try:
        slots = sum(parse_hostfile(hostfile.read_text(encoding="utf-8"), str(hostfile)).values())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"ABLAB_HOSTFILE={hostfile} cannot be read ({error}); correct it or unset it") from error
    if numerics.ranks not in (None, slots):
        raise InputError(
            f"--numerics ranks={numerics.ranks} must be the {slots} slots of {hostfile}; leave it out or change them"
        )
    return numerics.model_copy(update={"ranks": slots})


def has_gpu() -> bool:
    """True where this process may use a GPU."""
    return gpus() > 0


def gpus() -> int:
    """How many GPUs this process may use, without asking a driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = sum(1 for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit())
    named = None if visible is None else takewhile(lambda name: name.strip() not in ("", "-1"), visible.split(","))
    return found if named is None else min(found, sum(1 for _ in named))  # CUDA too stops at what is no GPU


def check_machine(placement: Placement) -> None:
    """Raises `InputError` without DeepSpeed, or for a device, or a number of them, that this process does not see."""
    if importlib.util.find_spec("deepspeed") is None:
        raise InputError("training needs the package deepspeed, which is not installed; pip install 'deepspeed>=0.19'")
    numerics, there = placement.numerics, gpus()
    kind, _, index = numerics.device.partition(":")
    needed = int(index) + 1 if index else 1 if placement.hostfile else numerics.ranks or 1
    if kind != "cuda" or there >= needed:
        return
    given = f"--numerics device={numerics.device}" + (f" ranks={numerics.ranks}" if numerics.ranks else "")
    if there == 0:
        raise InputError(f"{given}: this process sees no GPU; leave it out to run on the CPU")
    fewer = f"device=cuda:{there - 1}" if index else f"ranks={there}"
    raise InputError(f"{given}: this process sees {there} GPUs, not {needed}; use {fewer}")
