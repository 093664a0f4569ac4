"""Rebuild the registry's index from files: pinned versions and finished stages. Executions are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select

from ablab.errors import InputError
from ablab.registry.models import StageRow, VersionRow
from ablab.registry.records import StageRecord, VersionRecord
from ablab.registry.registry import Registry
from ablab.registry.rows import upsert_stages
from ablab.registry.statements import CHUNK, upsert
from ablab.spec.canonical import plain

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Reindexed:
    """What the files hold, and how many stages were forgotten because no file holds them."""

    versions: int
    stages: int
    forgotten: int


def reindex(registry: Registry, pinned: Iterable[VersionRecord], manifests: Iterable[Mapping[str, Any]]) -> Reindexed:
    """Make versions and complete stages what the files say. Safe while runs go on: what they record meanwhile stays.

    A manifest holds `key` and `kind`, and may hold `seconds`, `bytes`, `costs` (numbers by name), `computed_by`
    and `finished_at` (ISO 8601). Raises `InputError` with every fault of every manifest, and changes nothing then.
    """
    with registry.database.read() as session:  # before the files are read: a stage finished later is in neither
        before = set(session.scalars(select(StageRow.key).where(StageRow.state == "complete")))
    stages: dict[str, StageRecord] = {}
    faults: list[str] = []
    for manifest in manifests:
        found = _faults(manifest)
        faults += found
        if not found:
            stages[manifest["key"]] = _stage(manifest)
    if faults:
        raise InputError(faults)
    versions = {
        (one.name, one.version): {**asdict(one), "spec": plain(one.spec, f"{one.name}@{one.version}")} for one in pinned
    }
    gone = sorted(before - set(stages))
    with registry.database.write() as session:
        session.execute(delete(VersionRow))
        upsert(session, VersionRow, list(versions.values()))
        upsert_stages(session, list(stages.values()))
        for start in range(0, len(gone), CHUNK):
            session.execute(delete(StageRow).where(StageRow.key.in_(gone[start : start + CHUNK])))
    return Reindexed(len(versions), len(stages), len(gone))


def _stage(manifest: Mapping[str, Any]) -> StageRecord:
    moment = manifest.get("finished_at")
    return StageRecord(
        key=manifest["key"],
        kind=manifest["kind"],
        state="complete",
        seconds=float(manifest.get("seconds", 0.0)),
        bytes=int(manifest.get("bytes", 0)),
        costs=dict(manifest.get("costs", {})),
        computed_by=manifest.get("computed_by", ""),
        finished_at=_moment(moment) if moment else datetime.fromtimestamp(0, UTC),
    )


def _moment(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _faults(manifest: Mapping[str, Any]) -> list[str]:
    where = f"manifest of stage {manifest.get('key', '?')}"
    rules = {
        "key": isinstance(manifest.get("key"), str) and bool(_KEY.fullmatch(manifest["key"])),
        "kind": isinstance(manifest.get("kind"), str) and bool(manifest["kind"]),
        "seconds": _is_amount(manifest.get("seconds", 0.0)),
        "bytes": _is_amount(manifest.get("bytes", 0)),
        "costs": isinstance(manifest.get("costs", {}), Mapping),
        "computed_by": isinstance(manifest.get("computed_by", ""), str),
        "finished_at": _is_moment(manifest.get("finished_at")),
    }
    return [
        f"{where}: {field}={manifest.get(field)!r} cannot be indexed; the stage is damaged, recompute it"
        for field, good in rules.items()
        if not good
    ]


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_moment(value: object) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, str) and bool(_moment(value))
    except ValueError:
        return False
