"""What a design cost by the manifests of its stages, and what sharing saved."""

from __future__ import annotations

from collections.abc import Iterable

from ablab.analysis.report.material import Cost, Costs
from ablab.store import Store
from ablab.store.executions import Roles

SECONDS_PER_HOUR = 3600.0
Stage = tuple[str, str]


def costs(roles: Roles, store: Store) -> Costs:
    """Recorded costs. Apart: as if no arm, and no replicate of one, knew of any other."""
    every = {stage for replicates in roles.values() for one in replicates for stage in one.values()}
    known = stage_costs(roles, store)
    needed = {arm: {stage for one in replicates for stage in one.values()} for arm, replicates in roles.items()}
    # within a replicate a stage counts once, whatever its roles
    apart = {arm: [s for one in replicates for s in sorted(set(one.values()))] for arm, replicates in roles.items()}
    arms = {arm: _sum(known[s] for s in stages if s in known) for arm, stages in apart.items()}
    own = {}
    for arm, stages in needed.items():
        elsewhere = set().union(*(other for name, other in needed.items() if name != arm))
        own[arm] = _sum(known[s] for s in sorted(stages - elsewhere) if s in known)
    kinds = {kind: _sum(cost for (k, _), cost in known.items() if k == kind) for kind in sorted({k for k, _ in known})}
    return Costs(arms, own, kinds, _sum(arms.values()), _sum(known.values()), len(every) - len(known))


def stage_costs(roles: Roles, store: Store) -> dict[Stage, Cost]:
    """What every finished stage took; each once."""
    every = {stage for replicates in roles.values() for one in replicates for stage in one.values()}
    return {stage: _cost(stage, store) for stage in sorted(every) if store.has(*stage)}


def _cost(stage: Stage, store: Store) -> Cost:
    """Device-hours are those of its process, times the processes of a training."""
    manifest = store.manifest(*stage)
    recorded = manifest["costs"]
    ranks = (manifest["numerics"].get("ranks") or 1) if stage[0] == "train" else 1
    return Cost(
        stages=1,
        device_hours=float(recorded.get("seconds", 0.0)) * ranks / SECONDS_PER_HOUR,
        cpu_hours=float(recorded.get("cpu_seconds", 0.0)) / SECONDS_PER_HOUR,
        tokens=float(recorded.get("tokens", 0.0)),
        flops=float(recorded.get("flops", 0.0)),
    )


def _sum(parts: Iterable[Cost]) -> Cost:
    all_parts = list(parts)
    return Cost(
        stages=sum(part.stages for part in all_parts),
        device_hours=sum(part.device_hours for part in all_parts),
        cpu_hours=sum(part.cpu_hours for part in all_parts),
        tokens=sum(part.tokens for part in all_parts),
        flops=sum(part.flops for part in all_parts),
    )
