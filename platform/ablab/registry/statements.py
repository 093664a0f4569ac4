"""The few statements that SQLite and PostgreSQL share but SQLAlchemy spells once for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy import ColumnElement, CursorResult, Executable, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

from ablab.registry.models import Base

Insert: TypeAlias = postgresql.Insert | sqlite.Insert
Excluded: TypeAlias = ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]

CHUNK = 500
"""Rows and keys per statement, well below the limits on bound parameters."""


def insert_or(session: Session, table: type[Base]) -> Insert:
    """An INSERT that takes `.on_conflict_do_...`."""
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return make(table)


def upsert(
    session: Session,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
    where: Callable[[Excluded], ColumnElement[bool]] | None = None,
) -> None:
    """Insert rows of distinct keys. Those that exist are replaced, where `where` (given the new row) holds."""
    keys = [column.name for column in inspect(table).primary_key]
    for start in range(0, len(rows), CHUNK):
        insert = insert_or(session, table).values([dict(row) for row in rows[start : start + CHUNK]])
        values = {name: insert.excluded[name] for name in rows[start] if name not in keys}
        condition = None if where is None else where(insert.excluded)
        session.execute(insert.on_conflict_do_update(index_elements=keys, set_=values, where=condition))


def changed_rows(session: Session, statement: Executable) -> int:
    """Execute an INSERT, UPDATE or DELETE; how many rows it touched."""
    kept = {"preserve_rowcount": True}  # else psycopg's is gone after an INSERT: -1, which is true
    return cast("CursorResult[Any]", session.execute(statement, execution_options=kept)).rowcount
