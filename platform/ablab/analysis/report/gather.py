"""From the store to `Material`. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablab.analysis.apart import arms_apart
from ablab.analysis.compare import rows_of
from ablab.analysis.comparison import Comparison
from ablab.analysis.corpora import corpus_rows
from ablab.analysis.report.arms import arm_texts, factor_curves
from ablab.analysis.report.corpora import real_corpus, samples
from ablab.analysis.report.costs import costs
from ablab.analysis.report.curves import learning_curves
from ablab.analysis.report.material import ClaimRecord, Material, TaskEffect
from ablab.analysis.report.provenance import provenance
from ablab.analysis.report.tasks import task_effects
from ablab.analysis.results import ArmResults, ReplicateResult, load_result
from ablab.spec.ablation import Design
from ablab.store import Store
from ablab.store.executions import Execution, Roles


def gather(
    design: Design,
    roles: Roles,
    records: Sequence[Execution],
    comparison: Comparison,
    claims: Mapping[str, ClaimRecord],
    store: Store,
) -> Material:
    """Everything that the report of one design shows.

    Args:
        design: as it was run, edits included.
        roles: its stages; those that the store does not hold are told as missing.
        records: its executions, oldest first; at least one.
        comparison: of the same design and roles.
        claims: by id, whether each was pinned before its results.
        store: where the stages are.

    Raises:
        InputError, RunError: a stage cannot be read, or is not what was recorded.
    """
    arms = design.arm_names()
    return Material(
        name=records[-1].ablation,
        question=records[-1].question,
        design=design,
        comparison=comparison,
        arms=arm_texts(design, comparison),
        claims=claims,
        tasks=tasks_of(design, roles, store),
        curves=learning_curves(arms, roles, store),
        factors=factor_curves(design, comparison),
        corpora=tuple(corpus_rows(arms, roles, store)),
        apart=arms_apart(arms, roles, store),
        real=real_corpus(roles, store),
        samples=samples(arms, roles, store),
        costs=costs({arm: roles[arm] for arm in arms if arm in roles}, store),
        provenance=provenance(records, design, roles, store),
    )


def tasks_of(design: Design, roles: Roles, store: Store) -> tuple[TaskEffect, ...]:
    """Differences of every arm from the control by task, from what the store holds."""
    like: ReplicateResult | None = None
    arms = []
    for arm in design.arm_names():
        results: list[ReplicateResult | None] = []
        for position in range(len(design.replicates)):
            stage = roles[arm][position].get("evaluate") if position < len(roles.get(arm, ())) else None
            there = stage is not None and store.has(*stage)
            result = load_result(store.directory(*stage), like) if stage is not None and there else None
            like = like or result
            results.append(result)
        arms.append(ArmResults(arm, tuple(results)))
    return task_effects(arms, rows_of(design.replicates))
