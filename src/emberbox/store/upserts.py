"""Inserting rows that may be there: SQLite and PostgreSQL say it alike, each in statements of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Table

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def adding(table: Table, *counts: str) -> dict[str, Any]:
    """Return the statements, by dialect, that insert a row or add to the counts of the one that is there."""
    return {name: _adding(insert(table), table, counts) for name, insert in _INSERT.items()}


def unless_there(table: Table) -> dict[str, Any]:
    """Return the statements, by dialect, that insert a row unless it is there."""
    return {name: insert(table).on_conflict_do_nothing() for name, insert in _INSERT.items()}


def _adding(row: Any, table: Table, counts: tuple[str, ...]) -> Any:
    more = {count: table.c[count] + row.excluded[count] for count in counts}
    return row.on_conflict_do_update(index_elements=list(table.primary_key), set_=more)
