"""What the tables of a report hold beside results: arms, corpora, costs, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablab.analysis.corpora import MEASURES, CorpusRow, percent, whole
from ablab.analysis.report.contents import NOTHING
from ablab.analysis.report.material import ArmText, Cost, Material
from ablab.analysis.report.tables import Table


def arms_table(material: Material) -> Table:
    """What exactly differs, one row per leaf of the recipe."""
    rows = [row for arm in material.arms for row in _arm_rows(arm)]
    count = len(material.comparison.replicates)
    notes = (
        "Each arm is told by the earlier one that it differs least from, in normal form: what cannot matter is left "
        f"out. {count} replicate(s) declared: "
        + ", ".join(material.comparison.replicates)
        + " (training and generation seed).",
    )
    return Table(
        "arms",
        "Arms and what differs",
        ("arm", "like", "field", "there", "here", "results"),
        tuple(rows),
        5,
        (),
        notes,
    )


def _arm_rows(arm: ArmText) -> Iterator[tuple[str, ...]]:
    differing = [(c.path, c.before if c.before is not None else NOTHING, c.after or NOTHING) for c in arm.changes]
    if arm.seed_offset:
        differing.append(("seeds", "as declared", f"+ {arm.seed_offset}"))
    for row, cells in enumerate(differing or [("nothing" if arm.like else "control", NOTHING, NOTHING)]):
        first = row == 0
        yield (arm.name if first else "", (arm.like or "") if first else "", *cells, str(arm.finished) if first else "")


def corpora_table(material: Material) -> Table | None:
    """Synthetic corpora side by side; None without any."""
    overlap = ", ".join(f"{split} {percent(share)}" for split, share in material.real.get("overlap", {}).items())
    notes = (
        [f"Of the real text's held-out splits, the training text holds these 13-grams: {overlap}."] if overlap else []
    )
    if material.real:
        sizes = material.real.get("splits", {})
        words = ", ".join(f"{split} {size['words']:,} words" for split, size in sorted(sizes.items()))
        notes.append(f"Real corpus: {words}; {material.real.get('duplicates_removed', 0):,} duplicates removed.")
    return measures_table(material.corpora, "Synthetic corpora, mean over the corpora of an arm", notes)


def measures_table(rows: Sequence[CorpusRow], title: str, notes: Sequence[str]) -> Table | None:
    """Every number that some corpus has, a column per corpus; None without any."""
    cells = tuple(
        (measure.title, *(measure.shown(row.numbers[name]) if name in row.numbers else NOTHING for row in rows))
        for name, measure in MEASURES.items()
        if any(name in row.numbers for row in rows)
    )
    return Table("corpora", title, ("", *(row.arm for row in rows)), cells, notes=tuple(notes)) if cells else None


def costs_table(material: Material) -> Table:
    """Per arm, then all arms apart and together."""
    found = material.costs
    rows = [(arm, *_cost(cost), f"{found.own[arm].device_hours:.3f}") for arm, cost in found.arms.items()]
    rows.append(("all, apart", *_cost(found.apart), NOTHING))
    rows.append(("all, together", *_cost(found.together), NOTHING))
    marks = ("",) * len(found.arms) + ("headline", "headline")
    head = ("arm", "stages", "device-hours", "CPU-hours", "tokens", "FLOPs", "device-hours of its own")
    notes = [
        (
            "As the manifests recorded it. Per arm and 'apart': every arm and replicate computes all that it needs. "
            "'Of its own': stages that no other arm needs. 'Together': every different stage once."
        ),
        saved_words(material),
    ]
    if found.unfinished:
        notes.append(f"{found.unfinished} stages are not in the store (not computed, or removed) and count nothing.")
    return Table("costs", "Costs", head, tuple(rows), marks=marks, notes=tuple(notes))


def saved_words(material: Material) -> str:
    """What sharing saved, in one sentence."""
    apart, together = material.costs.apart, material.costs.together
    if apart.device_hours <= 0.0:
        return "No costs are recorded."
    saved = 1.0 - together.device_hours / apart.device_hours
    return (
        f"Sharing saved {percent(saved)}: {together.device_hours:.2f} device-hours instead of "
        f"{apart.device_hours:.2f}, {together.stages} stages instead of {apart.stages}."
    )


def kinds_table(material: Material) -> Table:
    """Together, by kind of stage."""
    rows = tuple((kind, *_cost(cost)) for kind, cost in material.costs.kinds.items())
    head = ("kind of stage", "stages", "device-hours", "CPU-hours", "tokens", "FLOPs")
    return Table("costs-by-kind", "Costs by kind of stage, together", head, rows)


def _cost(cost: Cost) -> tuple[str, ...]:
    flops = f"{cost.flops:.2e}" if cost.flops else NOTHING
    return (str(cost.stages), f"{cost.device_hours:.3f}", f"{cost.cpu_hours:.3f}", whole(cost.tokens), flops)


def runs_table(material: Material) -> Table:
    """Recorded executions of this design, oldest first."""
    rows = tuple(
        (run.id, run.label, run.status, run.started_at, run.finished_at or NOTHING, run.code, str(run.jobs))
        for run in material.provenance.runs
    )
    head = ("execution", "version", "status", "started", "ended", "code", "jobs")
    return Table("runs", "Runs of this design", head, rows, left=6)


def environments_table(material: Material) -> Table:
    """Versions, machines and numerics side by side; a column per different set."""
    found = material.provenance.environments
    paths = list(dict.fromkeys(path for one in found for path in one.settings))
    rows = [("stages computed so", *(str(one.stages) for one in found))]
    rows += [(path, *(one.settings.get(path, NOTHING) for one in found)) for path in paths]
    varied = frozenset(row[0] for row in rows[1:] if len(set(row[1:])) > 1)
    head = ("", *(f"({number})" for number in range(1, len(found) + 1)))
    notes = ("Stages of one comparison were computed in different settings: those rows are marked.",) if varied else ()
    marks = tuple("headline" if row[0] in varied else "" for row in rows)
    return Table("environments", "Versions, hardware and numerics", head, tuple(rows), marks=marks, notes=notes)


def stages_table(material: Material) -> Table:
    """Every different stage by its key and the digest of its result."""
    rows = tuple(
        (s.kind, s.role, s.arms, s.replicates, s.key, s.result or "not in the store")
        for s in material.provenance.stages
    )
    head = ("kind", "role", "arms", "replicates", "key (SHA-256)", "result (SHA-256)")
    return Table("stages", "Stages", head, rows, left=6)
