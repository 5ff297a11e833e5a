"""Writes the schema of today, with a row in each table, as the one that a release had.

Run it once for each release, before its first revision is followed by another: `python -m
tests.integration.schemas.dump 0.2.0`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    create_mock_engine,
    make_url,
)

from emberbox.store.migrate import REVISIONS
from emberbox.store.tables import metadata


def dump(url: str) -> str:
    """Return the SQL that makes a database as a release leaves it."""
    statements: list[str] = []
    dialect = make_url(url).get_dialect()()
    engine = create_mock_engine(
        url, lambda sql, *_: statements.append(str(sql.compile(dialect=dialect)).strip())
    )
    metadata.create_all(engine, checkfirst=False)
    statements.append(
        "CREATE TABLE alembic_version "
        "(version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)"
    )
    statements.append(f"INSERT INTO alembic_version VALUES ('{REVISIONS[-1]}')")  # noqa: S608
    for table in metadata.sorted_tables:
        names = ", ".join(column.name for column in table.columns)
        values = ", ".join(_value(column) for column in table.columns)
        statements.append(f"INSERT INTO {table.name} ({names}) VALUES ({values})")  # noqa: S608
    return "".join(f"{statement};\n" for statement in statements)


def _value(column: Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, LargeBinary):
        return "NULL"
    if isinstance(kind, JSON):
        return "'{}'"
    if isinstance(kind, Boolean):
        return "true"
    return "1" if isinstance(kind, BigInteger | Integer | Float) else "'x'"


if __name__ == "__main__":
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir(exist_ok=True)
    for name in ("sqlite", "postgresql"):
        (folder / f"{name}.sql").write_text(dump(f"{name}://"))
