"""What computed the numbers: runs, versions, machines, numerics, and every stage with its digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablab.analysis.report.material import Environment, Provenance, Run, StageText
from ablab.spec.ablation import Design
from ablab.spec.canonical import canonical_json
from ablab.store import Store
from ablab.store.executions import Execution, Roles

PLACES = ("host",)  # names of machines are nobody's business


def provenance(records: Sequence[Execution], design: Design, roles: Roles, store: Store) -> Provenance:
    """Of the newest of `records`, oldest first, which are runs of one design."""
    newest = records[-1]
    return Provenance(
        label=newest.label,
        scale=newest.scale,
        design_digest=newest.design_digest,
        edits={path: canonical_json(value) for path, value in sorted(newest.edits.items())},
        runs=tuple(_run(record) for record in records),
        environments=tuple(_environments(roles, store)),
        stages=tuple(_stages(design, roles, store)),
    )


def _run(record: Execution) -> Run:
    jobs = int(record.placement.get("jobs", 1))
    return Run(record.id, record.label, record.status, record.started_at, record.finished_at, record.code, jobs)


def _environments(roles: Roles, store: Store) -> Iterator[Environment]:
    """Different settings, those of most stages first."""
    counts: dict[str, int] = {}
    by_text: dict[str, dict[str, str]] = {}
    for kind, key in sorted({stage for replicates in roles.values() for one in replicates for stage in one.values()}):
        if store.has(kind, key):
            settings = settings_of(store.manifest(kind, key))
            text = canonical_json(settings)
            by_text[text] = settings
            counts[text] = counts.get(text, 0) + 1
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        yield Environment(counts[text], by_text[text])


def settings_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Flat: versions, machine, numerics."""
    recorded = {k: v for k, v in manifest.get("provenance", {}).items() if k not in PLACES}
    flat = {}
    for name, value in [*recorded.items(), *(("numerics", v) for v in [manifest["numerics"]])]:
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, leaf in sorted(inner):
            path = f"{name}.{part}" if part else name
            flat[path] = leaf if isinstance(leaf, str) else canonical_json(leaf)
    return flat


def _stages(design: Design, roles: Roles, store: Store) -> Iterator[StageText]:
    """Every different stage once, by its first use."""
    uses: dict[tuple[str, str], list[tuple[str, int, str]]] = {}
    for arm in design.arm_names():
        for position, one in enumerate(roles.get(arm, ())):
            for role, stage in sorted(one.items()):
                uses.setdefault(stage, []).append((arm, position, role))
    for (kind, key), used in sorted(uses.items(), key=lambda item: (item[0][0], item[1][0][1], item[0][1])):
        entry = store.manifest(kind, key)["files"]["result.json"]["sha256"] if store.has(kind, key) else None
        yield StageText(
            kind=kind,
            role=", ".join(dict.fromkeys(role for _, _, role in used)),
            arms=", ".join(dict.fromkeys(arm for arm, _, _ in used)),
            replicates=", ".join(map(str, sorted({position + 1 for _, position, _ in used}))),
            key=key,
            result=entry,
        )
