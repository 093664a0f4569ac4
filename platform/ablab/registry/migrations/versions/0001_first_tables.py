"""The first tables: versions, executions, stages, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_ablation_versions()
    _create_executions()
    _create_execution_stages()
    _create_stages()
    _create_leases()


def _create_ablation_versions() -> None:
    op.create_table(
        "ablation_versions",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
    )


def _create_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("ablation", sa.String(120), nullable=False),
        sa.Column("scale", sa.String(100), nullable=False),
        sa.Column("spec_digest", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("edits", sa.JSON, nullable=False),
        sa.Column("placement", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Text, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("code_commit", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_index("executions_by_time", "executions", ["started_at"])
    op.create_index("executions_by_ablation", "executions", ["ablation", "scale"])


def _create_execution_stages() -> None:
    execution = sa.ForeignKey("executions.id", ondelete="CASCADE")
    op.create_table(
        "execution_stages",
        sa.Column("execution_id", sa.String(32), execution, primary_key=True),
        sa.Column("arm", sa.String(100), primary_key=True),
        sa.Column("replicate", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("role", sa.String(50), primary_key=True),
        sa.Column("stage_key", sa.String(64), nullable=False),
    )
    op.create_index("execution_stages_by_key", "execution_stages", ["stage_key"])


def _create_stages() -> None:
    op.create_table(
        "stages",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("costs", sa.JSON, nullable=False),
        sa.Column("computed_by", sa.String(32), nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_index("stages_by_kind", "stages", ["kind", "finished_at"])


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Text, nullable=False),
        sa.Column("acquired_at", sa.Double, nullable=False),
        sa.Column("heartbeat_at", sa.Double, nullable=False),
    )
