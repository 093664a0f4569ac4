"""A store as a run leaves it, made in a moment: every stage of a small design, with trainings of four checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recipes_helper import CONTRASTIVE
from stages_helper import execution_record

from ablab.runner.plan import Plan, make_plan
from ablab.runner.results import roles_of
from ablab.spec import Arm, Design, Replicate
from ablab.spec.edit import dump
from ablab.spec.placement import Numerics
from ablab.spec.stages import Stage
from ablab.store import Store
from ablab.store.executions import Execution, write_execution
from ablab.store.pruned import checkpoint_folder
from experiments.scales import tiny

LOSSES = {5: 4.0, 10: 3.0, 15: 3.5, 20: 3.6}
"""Validation loss by step: 10 is the best and 20 the last."""


def design(*seeds: int, **edits: Any) -> Design:
    """Real text only, and a mixture whose BAD is GOOD's checkpoint 5; `edits` are of the control."""
    arm = Arm(name="mixed", edits={"synthetic": CONTRASTIVE, "mixture.share": 0.3})
    replicates = tuple(Replicate(train_seed=seed, generation_seed=seed) for seed in seeds)
    whole = Design(control="real-only", recipe=tiny(), arms=(arm,), replicates=replicates, claims=())
    return whole.edited({path.replace("__", "."): value for path, value in edits.items()})


def plan_of(store: Store, made: Design) -> Plan:
    return make_plan(made, made.recipes(), store, Numerics())


def put(store: Store, stage: Stage, steps: tuple[int, ...] = ()) -> None:
    """Finish a stage; a training with checkpoints of 5,000 bytes."""
    attempt = store.begin(stage.kind, stage.key, Numerics(), steps)
    if attempt is None:
        return
    result: dict[str, Any] = {"step": 10} if stage.kind == "select" else {}
    if stage.kind == "train":
        kept = [10, 20] if stage.params["share"] else list(LOSSES)
        result["checkpoints"] = [{"step": step, "validation_loss_nats": LOSSES[step]} for step in kept]
        for step in kept:
            (attempt.out / checkpoint_folder(step)).mkdir(parents=True)
            (attempt.out / checkpoint_folder(step) / "model.safetensors").write_bytes(os.urandom(5_000))
    store.commit(attempt, stage.identity, result, {})


def put_run(store: Store, made: Design, execution: str, **changes: Any) -> tuple[Execution, Plan]:
    """Record a run of a design as finished, with all its stages."""
    plan = plan_of(store, made)
    for planned in plan.stages.values():
        put(store, planned.stage)
    fields = {"id": execution * 32, "design": dump(made), "roles": roles_of(plan), "status": "finished", "edits": {}}
    record = execution_record(**fields | changes)
    write_execution(store.root, record)
    return record, plan


def key_of(plan: Plan, arm: str, role: str, replicate: int = 0) -> str:
    return plan.arms[arm][replicate].roles[role].key


def tree(root: Path) -> set[str]:
    """Every file below a folder but locks."""
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and not p.name.endswith(".lock")}
