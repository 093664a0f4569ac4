"""The plan: which stages a design needs, which are there, why, and what the others cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablab.analysis.report.tables import Table, to_html
from ablab.runner.estimate import Estimate, estimate
from ablab.spec.ablation import Design
from ablab.spec.checkpoints import steps_needed
from ablab.spec.lower import Lowered
from ablab.spec.manipulation import ROLE, lower_arms, lower_design
from ablab.spec.placement import Numerics
from ablab.spec.recipe import Recipe
from ablab.spec.stages import Stage
from ablab.store import Store
from ablab.store.pruned import pruned_steps, removed

UNNEEDED = "absent, and everything that used it is in the store"
RESULT_ROLES = frozenset({"evaluate", "curve", "floor", "describe", "real_describe", "good_evaluate", "bad_evaluate"})


@dataclass(frozen=True)
class Use:
    """Who needs a stage and as what."""

    arm: str
    replicate: int
    role: str


@dataclass
class PlannedStage:
    """One stage of a plan. `state`: cached, resumable, new, or unneeded (absent, but all that used it is there)."""

    stage: Stage
    uses: list[Use]
    state: str
    why: str
    estimate: Estimate
    children: list[PlannedStage] = field(default_factory=list)
    """Stages that wait for this one: it is their input, or in their `after`."""
    after: set[str] = field(default_factory=set)
    """Keys of stages that must be complete before this one is begun, though they are no inputs: they change neither its
    key nor its result, and are called for only when it is to be computed itself."""
    steps: set[int] = field(default_factory=set)
    """Declared checkpoints that stages which are to be computed read of it; a removed one is no cache hit."""

    @property
    def key(self) -> str:
        return self.stage.key

    @property
    def is_result(self) -> bool:
        """Something is read off it: it is computed when absent, whether or not another stage needs it."""
        return any(use.role in RESULT_ROLES for use in self.uses)

    @property
    def curves(self) -> list[PlannedStage]:
        """Of a training: the learning curves of its checkpoints."""
        waiting = (child for child in self.children if child.stage.kind == "curve")
        return [child for child in waiting if child.stage.inputs["train"].key == self.key]

    def is_in(self, store: Store) -> bool:
        """It is finished, and nothing that is needed of it was removed."""
        return store.has(self.stage.kind, self.key, self.steps)

    @property
    def title(self) -> str:
        """A short human name: kind and first use."""
        use = self.uses[0]
        shared = len({u.arm for u in self.uses})
        owner = "shared" if shared > 1 else f"{use.arm} r{use.replicate + 1}"
        role = use.role.replace("_" + self.stage.kind, "").replace(self.stage.kind, "").strip("_")
        if self.stage.kind == "train" and role == "" and shared > 1:
            owner = f"{use.arm} r{use.replicate + 1}"
        return f"{self.stage.kind}{' ' + role if role else ''} · {owner}"


@dataclass(frozen=True)
class Plan:
    """Every stage of a design once, inputs first, with the DAG of every arm and replicate."""

    design: Design
    arms: dict[str, tuple[Lowered, ...]]
    stages: dict[str, PlannedStage]

    def todo(self) -> Iterator[PlannedStage]:
        return (planned for planned in self.stages.values() if planned.state in ("new", "resumable"))

    def wait(self, key: str, after: str) -> None:
        """One stage is not begun before another is complete, which is none of its inputs."""
        if after not in self.stages[key].after:
            self.stages[key].after.add(after)
            self.stages[after].children.append(self.stages[key])

    def demand(self, key: str, store: Store) -> list[PlannedStage]:
        """Mark an absent stage, and what it needs and is absent, as to be computed; returns what was marked."""
        planned = self.stages[key]
        if planned.is_in(store) or planned.state in ("new", "resumable"):
            return []
        planned.state, planned.why = self._absent(planned, store)
        return [planned, *self._demand_awaited(planned, store)]

    def refresh(self, store: Store) -> None:
        """Look again at what was there: what was removed since, and is called for, is to be computed."""
        for planned in self.stages.values():
            if planned.state == "cached" and not planned.is_in(store):
                planned.state, planned.why = "unneeded", UNNEEDED
        for planned in list(self.stages.values()):
            if planned.is_result:
                self.demand(planned.key, store)
            if planned.state in ("new", "resumable"):
                self._demand_awaited(planned, store)

    def awaited(self, planned: PlannedStage) -> Iterator[PlannedStage]:
        """What must be complete before a stage is begun: its inputs, and what it comes after."""
        keys = [upstream.key for upstream in planned.stage.inputs.values()]
        return (self.stages[key] for key in dict.fromkeys([*keys, *sorted(planned.after)]))

    def _demand_awaited(self, planned: PlannedStage, store: Store) -> list[PlannedStage]:
        needed = steps_needed(planned.stage)
        for name, upstream in planned.stage.inputs.items():
            self.stages[upstream.key].steps |= needed.get(name, set())
        return [marked for one in self.awaited(planned) for marked in self.demand(one.key, store)]

    def _absent(self, planned: PlannedStage, store: Store) -> tuple[str, str]:
        stage = planned.stage
        gone = pruned_steps(store.directory(stage.kind, stage.key)) & planned.steps
        why = [removed(gone)] if gone else []
        if store.has_work(stage.key):
            return "resumable", "; ".join([*why, "an interrupted run left work to go on from"])
        if why:
            return "new", why[0]
        waiting = sorted({s.stage.kind for s in self.awaited(planned) if not store.has(s.stage.kind, s.key)})
        return "new", f"needs {', '.join(waiting)} first" if waiting else "not in the store"

    def long_items(self, store: Store) -> list[str]:
        """Items longer than the context of their model, as far as suite and tokenizer are in the store already."""
        found: list[str] = []
        for planned in self.todo():
            inputs = planned.stage.inputs
            if planned.stage.kind == "requests" and all(store.has(s.kind, s.key) for s in inputs.values()):
                from ablab.corpora.requests import long_items  # pyarrow, which no other plan needs

                made = {name: store.directory(stage.kind, stage.key) for name, stage in inputs.items()}
                stage = planned.stage
                found += long_items(made["suite"], made["tokenizer"], stage.params["context"], stage.locations)
        return list(dict.fromkeys(found))

    def stages_apart(self) -> int:
        """How many stages the arms would need if nothing were shared."""
        return sum(
            len({stage.key for stage in lowered.roles.values()}) for arm in self.arms.values() for lowered in arm
        )

    def totals(self) -> dict[str, float]:
        """Of the stages still to be computed: tokens, flops, bytes, hours of one device."""
        chosen = [planned.estimate for planned in self.todo()]
        return {
            "stages": len(chosen),
            "tokens": sum(e.tokens for e in chosen),
            "flops": sum(e.flops for e in chosen),
            "bytes": sum(e.bytes for e in chosen),
            "hours": sum(e.seconds for e in chosen) / 3600,
        }

    def hours_on(self, numerics: Numerics) -> float:
        """What is still to be computed, on another device."""
        return sum(estimate(planned.stage, numerics).seconds for planned in self.todo()) / 3600

    def _repr_html_(self) -> str:
        """What a notebook shows; every text escaped."""
        rows = tuple(_html_row(planned) for planned in self.stages.values())
        totals = self.totals()
        words = (
            f"To compute: {totals['stages']:.0f} of {len(self.stages)} stages ({self.stages_apart()} if arms and "
            f"replicates shared nothing), about {totals['hours']:,.2f} hours of one worker."
        )
        header = ("stage", "key", "state", "why", "tokens", "FLOPs", "seconds")
        return to_html(Table("plan", "Plan", header, rows, left=4, notes=(words,)))

    def to_json(self) -> dict[str, Any]:
        return {
            "stages": [
                {
                    "kind": p.stage.kind,
                    "key": p.key,
                    "state": p.state,
                    "why": p.why,
                    "uses": [vars(use) for use in p.uses],
                    "after": sorted(p.after),
                    "estimate": vars(p.estimate),
                }
                for p in self.stages.values()
            ],
            "stages_apart": self.stages_apart(),
            "totals": self.totals(),
        }


def _html_row(planned: PlannedStage) -> tuple[str, ...]:
    cost = planned.estimate
    numbers = (f"{cost.tokens:,.0f}", f"{cost.flops:.1e}", f"{cost.seconds:,.1f}")
    return (planned.title, planned.key[:12], planned.state, planned.why, *numbers)


def make_plan(
    design: Design,
    recipes: Mapping[str, Recipe],
    store: Store,
    numerics: Numerics,
    replicates: int | None = None,
    between_arms: bool = True,
) -> Plan:
    """Lower the resolved recipes of arms for every replicate (or the first ones) and look into the store.

    between_arms: the distributions of arms must differ before any of them is sampled; points of a study need not.
    Imports no library of a stage.
    """
    arms = (lower_design if between_arms else lower_arms)(design, recipes, replicates)
    uses = _uses(arms)
    ordered = {stage.key: stage for arm in arms.values() for lowered in arm for stage in lowered.stages()}
    planned = {
        key: PlannedStage(stage, uses[key], *_state(stage, store), estimate(stage, numerics))
        for key, stage in ordered.items()
    }
    for item in planned.values():
        for upstream in {s.key for s in item.stage.inputs.values()}:
            planned[upstream].children.append(item)
    plan = Plan(design, arms, planned)
    for roles in (lowered.roles for of in arms.values() for lowered in of):
        for training in (stage for stage in roles.values() if stage.kind == "train"):
            plan.wait(training.key, after=roles["requests"].key)  # which may refuse texts, and is what looks ask
        if ROLE in roles:
            plan.wait(roles["generate"].key, after=roles[ROLE].key)
    for key, item in planned.items():
        if item.is_result:
            plan.demand(key, store)
    return plan


def _uses(arms: dict[str, tuple[Lowered, ...]]) -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {}
    for name, replicates in arms.items():
        for position, lowered in enumerate(replicates):
            for role, stage in lowered.roles.items():
                uses.setdefault(stage.key, []).append(Use(name, position, role))
    return uses


def _state(stage: Stage, store: Store) -> tuple[str, str]:
    if store.has(stage.kind, stage.key):
        return "cached", "in the store"
    return "unneeded", UNNEEDED
