"""Designs that were run, from the records of executions: what a report and `ablab claims` are made of.

Neither data nor declarations are needed, and nothing is written; a stage that is found to be damaged is set aside, so
that the next run computes it anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ablab.analysis import Comparison
from ablab.analysis.report import ClaimRecord, Material, gather
from ablab.errors import InputError
from ablab.registry.versions import load_pinned
from ablab.runner.prepare import Prepared
from ablab.runner.results import compare_roles, roles_of
from ablab.spec.ablation import Claim, Design
from ablab.spec.base import build
from ablab.spec.stages import KINDS
from ablab.store import Store
from ablab.store.executions import Execution, Roles, read_executions

BEFORE, AFTERWARDS = "pinned before results", "written afterwards"
NO_RESULTS = "no results yet"
_ID = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True)
class Recorded:
    """All runs of one design at one scale of an ablation, and the stages that they name together."""

    records: tuple[Execution, ...]
    """Oldest first."""
    design: Design
    roles: Roles

    @property
    def newest(self) -> Execution:
        return self.records[-1]


def recorded_designs(store: Store, records: Sequence[Execution] | None = None) -> Iterator[Recorded]:
    """Every design of the records (of all that the store has), by ablation, scale and its newest run."""
    groups: dict[tuple[str, str, str], list[Execution]] = {}
    for record in read_executions(store.root) if records is None else records:
        groups.setdefault(_identity(record), []).append(record)
    for found in sorted(groups.values(), key=lambda g: (g[-1].ablation, g[-1].scale, g[-1].started_at, g[-1].id)):
        yield recorded(found)


def recorded(records: Sequence[Execution]) -> Recorded:
    """One design from its runs, oldest first."""
    design = build(Design, records[-1].design, records[-1].label)
    return Recorded(tuple(records), design, _merged(records, design.control))


def recorded_by_id(store: Store, name: str) -> Recorded | None:
    """The design of the execution whose id begins so, with all of its runs; None where none does."""
    if not _ID.fullmatch(name):
        return None
    every = list(read_executions(store.root))
    matching = [record for record in every if record.id.startswith(name)]
    if len(matching) > 1:
        raise InputError(f"more than one execution begins with {name}; `ablab status` lists them")
    return runs_of(*_identity(matching[0]), every) if matching else None


def runs_of(ablation: str, scale: str, design_digest: str, records: Iterable[Execution]) -> Recorded | None:
    """All runs of a design among `records`, oldest first; None without one."""
    same = [record for record in records if _identity(record) == (ablation, scale, design_digest)]
    return recorded(same) if same else None


def _identity(record: Execution) -> tuple[str, str, str]:
    return record.ablation, record.scale, record.design_digest


def until(record: Execution, design: Design, store: Store) -> Recorded:
    """One run with its own stages alone; beside it the runs of its design before it, which may have pinned claims."""
    every = [r for r in read_executions(store.root) if _identity(r) == _identity(record)]
    earlier = [r for r in every if (r.started_at, r.id) < (record.started_at, record.id)]
    return Recorded((*earlier, record), design, record.roles)


def _merged(records: Sequence[Execution], control: str) -> Roles:
    """Stages of the newest run, and of older ones those arms and replicates that it left out.

    An older run whose control has other stages was made by another revision of the code: its arms are not mixed in.
    """
    *older, newest = records
    merged = {arm: list(replicates) for arm, replicates in newest.roles.items()}
    for record in reversed(older):
        both = zip(record.roles.get(control, ()), merged.get(control, ()), strict=False)
        if any(one.get("evaluate") != other.get("evaluate") for one, other in both):
            continue
        for arm, replicates in record.roles.items():
            merged[arm] = [*merged.get(arm, []), *replicates[len(merged.get(arm, [])) :]]
    return merged


def report_material(found: Recorded, comparison: Comparison, store: Store, project: Path) -> Material:
    """Everything that the report of a recorded design shows."""
    claims = claim_records(found, store, project)
    return gather(found.design, found.roles, found.records, comparison, claims, store)


def compare_recorded(found: Recorded, store: Store) -> Comparison:
    """Its comparison. Raises `InputError` where no arm has a result."""
    return compare_roles(found.design, found.roles, store)


def has_results(roles: Roles, store: Store) -> bool:
    """An arm was evaluated."""
    stages = (one.get("evaluate") for replicates in roles.values() for one in replicates)
    return any(stage is not None and store.has(*stage) for stage in stages)


def prepared_roles(prepared: Prepared) -> Roles:
    """Stages of a design as the present code makes them.

    Raises `InputError` where none of its arms has a result: that it was never run, or what changed since it was.
    """
    roles = roles_of(prepared.plan)
    if not has_results(roles, prepared.store):
        raise InputError(_why_nothing(prepared, roles))
    return roles


def _why_nothing(prepared: Prepared, roles: Roles) -> str:
    name, scale, store = f"{prepared.label} at {prepared.scale}", prepared.scale, prepared.store
    again = f"run-ablation {prepared.label} --scale {scale}"
    earlier = runs_of(prepared.ablation.name, scale, prepared.design_digest, read_executions(store.root))
    if earlier is None or not has_results(earlier.roles, store):
        return f"{name}: no arm has a result; run the ablation first: {again}"
    id_ = earlier.newest.id[:8]
    return (
        f"{name}: no arm has a result of the present code, which changed since the run {id_} of "
        f"{earlier.newest.started_at[:10]}: {_changes(earlier.roles, roles, store)}; `{again}` computes what the "
        f"change touches, `ablab compare {id_}` and `ablab report {id_}` show the results of then"
    )


def _changes(then: Roles, now: Roles, store: Store) -> str:
    """Which kinds of stages have another revision; else that the stages themselves are others."""
    found = {}
    for kind, key in sorted({stage for several in then.values() for one in several for stage in one.values()}):
        if store.has(kind, key):
            revision = store.identity(kind, key)["revision"]
            present = KINDS[kind].revision if kind in KINDS else None
            if revision != present:
                found[kind] = f"{kind} has revision {present}, then {revision}"
    if found:
        return ", ".join(found.values())
    kinds = {r: s[0] for several in now.values() for one in several for r, s in one.items()}
    known = {stage for several in then.values() for one in several for stage in one.values()}
    others = {kinds[r] for several in now.values() for one in several for r, s in one.items() if s not in known}
    return f"other data, or stages that are put together otherwise ({', '.join(sorted(others))})"


def claim_records(found: Recorded, store: Store, project: Path) -> dict[str, ClaimRecord]:
    """By claim, whether it was pinned before its results.

    It was, when a run recorded itself under a pinned version that holds this very claim before the first evaluation
    began that completes a pair of the claim's arms, and before any run of the design with such a pair finished (its
    evaluations may have been removed since, and computed again later). A run records itself as `name@<n>` only while
    the declaration equals the pinned file, and every evaluation records when it began; all are times of the machines
    that ran them.
    """
    return {claim.id: _claim_record(claim, found, store, project) for claim in found.design.claims}


def _claim_record(claim: Claim, found: Recorded, store: Store, project: Path) -> ClaimRecord:
    pinned = next((record for record in found.records if _pins(claim, record, project)), None)
    first = _first_pair(claim, found, store)
    if first is None:
        return ClaimRecord(NO_RESULTS, f"pinned as {pinned.label}" if pinned else "not pinned")
    if pinned is None:
        return ClaimRecord(AFTERWARDS, f"no run of it was one of a pinned version that holds it ({_labels(found)})")
    if _seconds(pinned.started_at) > first:
        return ClaimRecord(AFTERWARDS, f"its results are older than the first run of {pinned.label}")
    edited = " with edits of the design" if pinned.edits else ""
    return ClaimRecord(BEFORE, f"{pinned.label}{edited}, run {pinned.started_at}")


def _pins(claim: Claim, record: Execution, project: Path) -> bool:
    """The record's version is pinned, intact, and holds the claim at the record's scale."""
    name, _, number = record.label.partition("@")
    if not number.isdecimal():
        return False
    try:
        design = load_pinned(project, name, int(number)).ablation.designs.get(record.scale)
    except InputError:
        return False  # absent or damaged: it proves nothing
    return design is not None and claim in design.claims


def _first_pair(claim: Claim, found: Recorded, store: Store) -> float | None:
    """When the claim's difference could be known first: the earliest moment at which both of a pair were begun, or a
    run had finished that has both. None where the store holds no pair."""
    moments = [
        max(float(store.manifest(*stage)["started"]) for stage in pair)
        for pair in _pairs(claim, found.roles)
        if all(store.has(*stage) for stage in pair)
    ]
    if not moments:
        return None
    ended = [r.finished_at for r in found.records if r.status == "finished" and any(_pairs(claim, r.roles))]
    return min([*moments, *(_seconds(moment) for moment in ended if moment is not None)])


def _pairs(claim: Claim, roles: Roles) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """The evaluations of both arms, replicate by replicate."""
    for one, other in zip(roles.get(claim.arm, ()), roles.get(claim.against, ()), strict=False):
        if "evaluate" in one and "evaluate" in other:
            yield one["evaluate"], other["evaluate"]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _labels(found: Recorded) -> str:
    return ", ".join(dict.fromkeys(record.label for record in found.records))
