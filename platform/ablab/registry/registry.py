"""`Registry`: the index of versions, executions, stages and costs, and the leases. Each method is one transaction.

Failures of the database while running are `RunError`s that say what is safe and how to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType

from sqlalchemy import ColumnElement, delete, func, literal, select, update

from ablab.errors import InputError, RunError
from ablab.registry import leases
from ablab.registry.database import Database
from ablab.registry.models import ExecutionRow, ExecutionStageRow, StageRow, VersionRow
from ablab.registry.process import is_dead
from ablab.registry.records import (
    ExecutionRecord,
    ExecutionStage,
    Holder,
    KindCosts,
    Lease,
    NewExecution,
    Owner,
    StageRecord,
    Status,
    VersionRecord,
)
from ablab.registry.rows import (
    execution_of,
    process_of,
    row_of_execution,
    row_of_execution_stage,
    stage_of,
    storable,
    upsert_stages,
)
from ablab.registry.schema import ensure_schema
from ablab.registry.statements import CHUNK, changed_rows, insert_or, upsert
from ablab.spec.ablation import differing_paths
from ablab.spec.canonical import plain

LEASE_SECONDS = 60.0
"""A lease without a heartbeat for so long may be taken over."""


def open_registry(url: str) -> Registry:
    """Open the registry at a SQLAlchemy URL, created or migrated if need be.

    Raises `InputError` if the URL is none, or the database is unreachable, none, newer or another program's.
    """
    database = Database(url)
    try:
        ensure_schema(database)
    except BaseException:
        database.close()
        raise
    return Registry(database)


class Registry:
    """An open registry. May be used from several threads; a forked or spawned process opens its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shown_url = database.shown

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # -- versions ------------------------------------------------------------------------------------------------

    def record_version(self, version: VersionRecord) -> None:
        """Know a pinned version. Raises `InputError` if another content is known under the same number."""
        row = {**asdict(version), "spec": plain(version.spec, "spec")}
        with self._database.write() as session:
            session.execute(insert_or(session, VersionRow).values(row).on_conflict_do_nothing())
            known = session.get_one(VersionRow, (version.name, version.version))
            if known.digest == version.digest:
                return
            fields = ", ".join(differing_paths(row["spec"], known.spec))
        raise InputError(
            f"{version.name}@{version.version} is known with other content in {self.shown_url}; they differ in "
            f"{fields}; somebody pinned that number too: bump `version` and lock again, or run `ablab reindex` if "
            "the files here are right"
        )

    def versions(self) -> list[VersionRecord]:
        """Every known pinned version, by name and number."""
        with self._database.read() as session:
            rows = session.scalars(select(VersionRow).order_by(VersionRow.name, VersionRow.version))
            return [VersionRecord(row.name, row.version, row.digest, row.spec) for row in rows]

    # -- executions ----------------------------------------------------------------------------------------------

    def start_execution(self, new: NewExecution) -> str:
        """Record a run as running; its id, 32 hexadecimal digits."""
        row = row_of_execution(new)
        with self._database.write() as session:
            session.add(row)
        return row.id

    def finish_execution(self, execution: str, status: Status, message: str = "") -> None:
        """Record how a run ended. Raises `RunError` if the registry does not know it (any more)."""
        values = {"status": status, "finished_at": datetime.now(UTC), "message": storable(message)}
        with self._database.write() as session:
            known = changed_rows(session, update(ExecutionRow).where(ExecutionRow.id == execution).values(values))
        if known != 1:
            raise self._forgotten(execution)

    def interrupt_dead(self) -> list[str]:
        """Mark running executions of this machine whose process is dead as interrupted; their ids."""
        with self._database.write() as session:
            running = session.scalars(select(ExecutionRow).where(ExecutionRow.status == "running"))
            dead = [row for row in running if is_dead(process_of(row))]
            for row in dead:
                row.status, row.finished_at = "interrupted", datetime.now(UTC)
                row.message = f"process {row.pid} on {row.host} died"
            return [row.id for row in dead]

    def executions(
        self, limit: int | None = None, ablation: str | None = None, scale: str | None = None
    ) -> list[ExecutionRecord]:
        """Runs, newest first. `ablation` is a label, or a name for all its versions."""
        query = select(ExecutionRow).order_by(ExecutionRow.started_at.desc(), ExecutionRow.id).limit(limit)
        if ablation is not None:
            label = ExecutionRow.ablation
            query = query.where(
                label == ablation if "@" in ablation else label.startswith(f"{ablation}@", autoescape=True)
            )
        if scale is not None:
            query = query.where(ExecutionRow.scale == scale)
        with self._database.read() as session:
            return [execution_of(row) for row in session.scalars(query)]

    def execution(self, execution: str) -> ExecutionRecord:
        """One run by its id or a unique beginning of it. Raises `InputError` for none or several."""
        query = select(ExecutionRow).where(ExecutionRow.id.startswith(execution, autoescape=True)).limit(5)
        with self._database.read() as session:
            found = [execution_of(row) for row in session.scalars(query)] if execution else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise InputError(f"no execution has the id {execution!r}; `ablab status` lists them")
        ids = ", ".join(record.id for record in found)
        raise InputError(f"several executions begin with {execution!r}: {ids}; give more digits")

    def set_execution_stages(self, execution: str, stages: Iterable[ExecutionStage]) -> None:
        """What the run consists of; replaces what was said before. `RunError` if the run is not known."""
        rows = [row_of_execution_stage(execution, stage) for stage in stages]
        with self._database.write() as session:
            if session.get(ExecutionRow, execution) is None:
                raise self._forgotten(execution)
            session.execute(delete(ExecutionStageRow).where(ExecutionStageRow.execution_id == execution))
            upsert(session, ExecutionStageRow, rows)

    def execution_stages(self, execution: str) -> list[ExecutionStage]:
        """What the run consists of, by arm, replicate and role."""
        table = ExecutionStageRow
        query = select(table).where(table.execution_id == execution).order_by(table.arm, table.replicate, table.role)
        with self._database.read() as session:
            return [ExecutionStage(row.arm, row.replicate, row.role, row.stage_key) for row in session.scalars(query)]

    # -- stages and costs ----------------------------------------------------------------------------------------

    def record_stage(self, stage: StageRecord) -> None:
        """Know a finished or failed stage. A failure never replaces a completion."""
        with self._database.write() as session:
            upsert_stages(session, [stage])

    def stage_records(self, keys: Iterable[str]) -> dict[str, StageRecord]:
        """Those of the stages that are known, by key."""
        found: dict[str, StageRecord] = {}
        with self._database.read() as session:
            for chunk in _chunks(dict.fromkeys(keys)):
                rows = session.scalars(select(StageRow).where(StageRow.key.in_(chunk)))
                found |= {row.key: stage_of(row) for row in rows}
        return found

    def costs(self, execution: str | None = None) -> dict[str, KindCosts]:
        """Costs of complete stages by kind: of all, or of those that one execution computed itself."""
        condition: ColumnElement[bool] = literal(True) if execution is None else StageRow.computed_by == execution
        query = (
            select(StageRow.kind, func.count(), func.sum(StageRow.seconds), func.sum(StageRow.bytes))
            .where(StageRow.state == "complete", condition)
            .group_by(StageRow.kind)
            .order_by(StageRow.kind)
        )
        with self._database.read() as session:
            return {kind: KindCosts(n, seconds, int(size)) for kind, n, seconds, size in session.execute(query)}

    # -- leases --------------------------------------------------------------------------------------------------

    def try_acquire(self, key: str, owner: Owner, ttl: float = LEASE_SECONDS) -> Lease | None:
        """The right to compute a stage, or None while a living process has it. See `ablab.registry.leases`."""
        with self._database.write() as session:
            return leases.try_acquire(session, key, owner, ttl)

    def renew(self, held: Iterable[Lease]) -> set[str]:
        """Send a heartbeat for each lease; the keys of those that were lost: stop computing them."""
        with self._database.write() as session:
            return leases.renew(session, held)

    def release(self, lease: Lease) -> bool:
        """Give a lease back; False if it had been lost."""
        with self._database.write() as session:
            return leases.release(session, lease)

    def holder(self, key: str) -> Holder | None:
        """Who computes a stage now, as far as is known."""
        with self._database.read() as session:
            return leases.holder(session, key)

    # ------------------------------------------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        """For `reindex`."""
        return self._database

    def _forgotten(self, execution: str) -> RunError:
        return RunError(
            f"the registry {self.shown_url} does not know execution {execution} any more; it was replaced while "
            "running",
            "Finished stages are safe in the store. Run the same command again; `ablab reindex` fills the registry.",
        )


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
