"""From a name to a study that can be run: choose, check, resolve, reach; every fault at once. Imports no optuna."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ablab.errors import InputError, collecting
from ablab.registry.declarations import load_declarations
from ablab.registry.registry import open_registry
from ablab.runner.machine import check_machine, default_placement
from ablab.runner.plan import Plan, make_plan
from ablab.runner.prepare import open_store, resolver_of
from ablab.search.check import study_faults
from ablab.search.declared import ChosenStudy, choose_study
from ablab.search.places import Place, study_place
from ablab.search.points import params_of
from ablab.search.spec import StudyDesign
from ablab.settings import Settings
from ablab.spec.ablation import Arm, Design, Replicate
from ablab.spec.canonical import digest
from ablab.spec.lower import lower
from ablab.spec.placement import Placement
from ablab.spec.recipe import Recipe
from ablab.store import Store
from ablab.store.store import check_writable
from ablab.tracking import Tracker

BASE = "base"

Purpose = Literal["plan", "run"]


@dataclass(frozen=True)
class PreparedStudy:
    """A study that has been checked; nothing has been computed."""

    chosen: ChosenStudy
    scale: str
    design: StudyDesign
    trials: int
    """Of the budget, or of `--trials`."""
    base: Recipe
    """Resolved."""
    plan: Plan
    """Of one trial, the base, with all its replicates."""
    fresh: Plan
    """Of the base on fresh replicates."""
    placement: Placement
    store: Store
    place: Place
    notes: tuple[str, ...] = ()
    """What a plan could not know: data that is not there yet."""

    @property
    def data(self) -> str:
        """What the base recipe computes with the data that it has now."""
        return digest([lower(self.base, one).roles["evaluate"].key for one in self.design.replicates])

    @property
    def storage_name(self) -> str:
        """What the trials are filed under; of `@dev` by content."""
        label = self.chosen.label
        if label.endswith("@dev"):
            label += f"-{digest(self.design.canonical())[:12]}"
        return f"{label} {self.scale}"

    @property
    def about(self) -> dict[str, str]:
        """What people call it: kept with its trials."""
        study = self.chosen.study
        return {"study": study.name, "label": self.chosen.label, "scale": self.scale, "question": study.question}

    def base_is_a_trial(self) -> bool:
        return params_of(self.design.recipe, self.design.space) is not None


def prepare_study(
    settings: Settings,
    name: str,
    scale: str,
    *,
    trials: int | None = None,
    jobs: int | None = None,
    numerics: Mapping[str, Any] | None = None,
    generation_workers: int = 1,
    purpose: Purpose = "run",
    known: Iterable[str] = (),
) -> PreparedStudy:
    """Check everything. Raises one `InputError` with every fault; computes nothing, and for a plan makes nothing.

    trials: in place of the declared budget. known: faults that the caller has found, to be told with the others.
    """
    faults = list(known)
    with collecting(faults):
        placement = default_placement(jobs, numerics or {}, generation_workers, settings.hostfile)
        if purpose == "run":
            check_machine(placement)
    if trials is not None and trials < 1:
        faults.append(f"--trials={trials} must be at least 1")
    missing: list[str] = []
    with collecting(faults):
        chosen = choose_study(settings.project, name)
        design = chosen.study.design(scale)
        faults += study_faults(design, f"{chosen.label} at {scale}")
        _refuse_taken_name(settings, chosen)
        base, missing = _resolved(design.recipe, settings)
        faults += missing if purpose == "run" else []
    with collecting(faults):
        place = study_place(settings.study_url)
    with collecting(faults):
        store = open_store(settings)
    if purpose == "run" and not faults:
        with collecting(faults):
            check_writable(store.root)
        with collecting(faults):
            open_registry(settings.registry_url).close()
        with collecting(faults):
            Tracker.of(settings).check(f"study/{chosen.study.name}")
    if faults:
        raise InputError(faults)
    return PreparedStudy(
        chosen=chosen,
        scale=scale,
        design=design,
        trials=trials or design.budget.trials,
        base=base,
        plan=make_plan(design_of(BASE, design.recipe, design.replicates), {BASE: base}, store, placement.numerics),
        fresh=make_plan(design_of(BASE, design.recipe, design.fresh), {BASE: base}, store, placement.numerics),
        placement=placement,
        store=store,
        place=place,
        notes=tuple(missing),
    )


def design_of(control: str, recipe: Recipe, replicates: tuple[Replicate, ...], arms: tuple[Arm, ...] = ()) -> Design:
    """What the runner is given."""
    return Design(control=control, recipe=recipe, arms=arms, replicates=replicates, claims=())


def _resolved(recipe: Recipe, settings: Settings) -> tuple[Recipe, list[str]]:
    with resolver_of(settings) as resolver:
        try:
            return resolver.resolve(recipe), []
        except InputError as error:
            return recipe, list(error.faults)


def _refuse_taken_name(settings: Settings, chosen: ChosenStudy) -> None:
    """Runs, results and logs of both are found by name."""
    if chosen.study.name in load_declarations(settings.project).ablations:
        raise InputError(f"an ablation is named {chosen.study.name!r} too; rename the study")
