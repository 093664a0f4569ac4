"""Leases: at most one process computes a stage. Statements for one transaction each; `Registry` runs them.

A lease changes hands by compare-and-swap on its token, so of two processes that take over the same one the
database lets one succeed. An owner that was silent too long finds another token and knows that it lost.
Times are the database's clock, so hosts need not agree on theirs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Double, delete, select, true, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import FunctionElement

from ablab.registry.models import LeaseRow
from ablab.registry.process import is_dead
from ablab.registry.records import Holder, Lease, Owner
from ablab.registry.rows import process_of
from ablab.registry.statements import changed_rows, insert_or


class now_seconds(FunctionElement[float]):
    """Seconds since 1970 by the database's clock, at least to the millisecond."""

    type = Double()
    inherit_cache = True


@compiles(now_seconds, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now_seconds, "postgresql")
def _postgres_now(element: Any, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def try_acquire(session: Session, key: str, owner: Owner, ttl: float) -> Lease | None:
    """The lease, if nobody has it, its owner is certainly dead, or it had no heartbeat for `ttl` seconds."""
    lease = Lease(key, uuid.uuid4().hex)
    values = {
        "owner": owner.execution,
        "token": lease.token,
        "host": owner.process.host,
        "machine": owner.process.machine,
        "pid": owner.process.pid,
        "process_started": owner.process.started,
        "acquired_at": now_seconds(),
        "heartbeat_at": now_seconds(),
    }
    if changed_rows(session, insert_or(session, LeaseRow).values(key=key, **values).on_conflict_do_nothing()) == 1:
        return lease
    held = session.get(LeaseRow, key)
    if held is None:
        return None  # released this moment; the caller asks again
    silent: ColumnElement[bool] = LeaseRow.heartbeat_at < now_seconds() - ttl
    takeover = true() if is_dead(process_of(held)) else silent
    swap = update(LeaseRow).where(LeaseRow.key == key, LeaseRow.token == held.token, takeover).values(**values)
    return lease if changed_rows(session, swap) == 1 else None


def renew(session: Session, leases: Iterable[Lease]) -> set[str]:
    """A heartbeat for each; the keys of those that belong to somebody else by now."""
    lost = set()
    for lease in sorted(leases, key=lambda one: one.key):  # one order everywhere: row locks cannot deadlock
        beat = update(LeaseRow).where(*_mine(lease)).values(heartbeat_at=now_seconds())
        if changed_rows(session, beat) != 1:
            lost.add(lease.key)
    return lost


def release(session: Session, lease: Lease) -> bool:
    """Give it back; False if it was lost before."""
    return changed_rows(session, delete(LeaseRow).where(*_mine(lease))) == 1


def holder(session: Session, key: str) -> Holder | None:
    """Who has the lease of a key."""
    now = now_seconds()
    query = select(LeaseRow, now - LeaseRow.acquired_at, now - LeaseRow.heartbeat_at).where(LeaseRow.key == key)
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    row, held, silent = found
    return Holder(Owner(row.owner, process_of(row)), held, silent)


def _mine(lease: Lease) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return LeaseRow.key == lease.key, LeaseRow.token == lease.token
