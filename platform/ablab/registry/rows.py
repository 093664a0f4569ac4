"""Records to rows and back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import not_
from sqlalchemy.orm import Session

from ablab.registry.models import ExecutionRow, LeaseRow, StageRow
from ablab.registry.process import Process
from ablab.registry.records import ExecutionRecord, ExecutionStage, NewExecution, StageRecord, StageState, Status
from ablab.registry.statements import upsert
from ablab.spec.canonical import plain


def row_of_execution(new: NewExecution) -> ExecutionRow:
    """A running execution with an id of its own."""
    return ExecutionRow(
        id=uuid.uuid4().hex,
        ablation=new.ablation,
        scale=new.scale,
        spec_digest=new.spec_digest,
        spec=plain(new.spec, "spec"),
        edits=plain(new.edits, "edits"),
        placement=plain(new.placement, "placement"),
        status="running",
        started_at=datetime.now(UTC),
        finished_at=None,
        host=new.process.host,
        machine=new.process.machine,
        pid=new.process.pid,
        process_started=new.process.started,
        code_version=new.code_version,
        code_commit=new.code_commit,
        message="",
    )


def execution_of(row: ExecutionRow) -> ExecutionRecord:
    return ExecutionRecord(
        id=row.id,
        ablation=row.ablation,
        scale=row.scale,
        spec_digest=row.spec_digest,
        spec=row.spec,
        edits=row.edits,
        placement=row.placement,
        status=cast(Status, row.status),
        started_at=row.started_at,
        finished_at=row.finished_at,
        process=process_of(row),
        code_version=row.code_version,
        code_commit=row.code_commit,
        message=row.message,
    )


def process_of(row: ExecutionRow | LeaseRow) -> Process:
    return Process(row.host, row.machine, row.pid, row.process_started)


def row_of_execution_stage(execution: str, stage: ExecutionStage) -> dict[str, Any]:
    return {
        "execution_id": execution,
        "arm": stage.arm,
        "replicate": stage.replicate,
        "role": stage.role,
        "stage_key": stage.key,
    }


def stage_of(row: StageRow) -> StageRecord:
    return StageRecord(
        key=row.key,
        kind=row.kind,
        state=cast(StageState, row.state),
        seconds=row.seconds,
        bytes=row.bytes,
        costs=row.costs,
        computed_by=row.computed_by,
        finished_at=row.finished_at,
        message=row.message,
    )


def upsert_stages(session: Session, stages: Sequence[StageRecord]) -> None:
    """Insert or replace stages of distinct keys; a failure never replaces a completion."""
    rows = [
        {**asdict(stage), "costs": plain(stage.costs, "costs"), "message": storable(stage.message)} for stage in stages
    ]
    upsert(
        session,
        StageRow,
        rows,
        where=lambda new: not_((StageRow.state == "complete") & (new["state"] == "failed")),
    )


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
