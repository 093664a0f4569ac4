"""The tables. `migrations/` makes exactly these; a test compares the two.

Everything here but executions and leases can be rebuilt from files (`ablab.registry.reindex`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """Moments with a time zone; SQLite keeps none, so it gets and gives UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Text without a stated length has none; columns are NOT NULL unless their type allows None."""

    type_annotation_map = {str: Text, datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012


class VersionRow(Base):
    """A pinned version of an ablation."""

    __tablename__ = "ablation_versions"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]


class ExecutionRow(Base):
    """One run of one scale of an ablation."""

    __tablename__ = "executions"
    __table_args__ = (Index("executions_by_time", "started_at"), Index("executions_by_ablation", "ablation", "scale"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    ablation: Mapped[str] = mapped_column(String(120))
    scale: Mapped[str] = mapped_column(String(100))
    spec_digest: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]
    edits: Mapped[dict[str, Any]]
    placement: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    host: Mapped[str]
    machine: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    process_started: Mapped[str]
    code_version: Mapped[str]
    code_commit: Mapped[str]
    message: Mapped[str]


class ExecutionStageRow(Base):
    """Which stage an execution uses for what. The stage itself may not be computed yet."""

    __tablename__ = "execution_stages"
    __table_args__ = (Index("execution_stages_by_key", "stage_key"),)

    execution_id: Mapped[str] = mapped_column(ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True)
    arm: Mapped[str] = mapped_column(String(100), primary_key=True)
    replicate: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(String(50), primary_key=True)
    stage_key: Mapped[str] = mapped_column(String(64))


class StageRow(Base):
    """A stage that was computed, or whose last attempt failed."""

    __tablename__ = "stages"
    __table_args__ = (Index("stages_by_kind", "kind", "finished_at"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(16))
    seconds: Mapped[float]
    bytes: Mapped[int] = mapped_column(BigInteger)
    costs: Mapped[dict[str, Any]]
    computed_by: Mapped[str] = mapped_column(String(32))  # no foreign key: the store outlives a lost registry
    finished_at: Mapped[datetime]
    message: Mapped[str]


class LeaseRow(Base):
    """Who computes a stage now. Times are the database's own clock, in seconds since 1970."""

    __tablename__ = "leases"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str]
    token: Mapped[str] = mapped_column(String(32))
    host: Mapped[str]
    machine: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    process_started: Mapped[str]
    acquired_at: Mapped[float]
    heartbeat_at: Mapped[float]
