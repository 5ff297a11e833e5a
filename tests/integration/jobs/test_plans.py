"""How SQLite goes about what every job asks of it: never through all that waits."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, event

from emberbox.service.jobs.queue.database import DatabaseQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emberbox.store import Database


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is executed meanwhile, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_claim_finds_the_next_jobs_by_an_index(
    database: Database, statements: list[tuple[str, Any]], tmp_path: Path
) -> None:
    await DatabaseQueue(database).claim("w", 4, 30.0)
    (claim,) = [(statement, values) for statement, values in statements if "fair_order" in statement]
    with closing(sqlite3.connect(tmp_path / "service.db")) as connection:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + claim[0], claim[1])]
    assert "SEARCH mine USING INDEX ix_jobs_line (status=? AND team_id=?)" in plan
    assert not [step for step in plan if step.startswith(("SCAN job", "SCAN mine", "SCAN turns"))], plan
    # What is sorted is one row for each team that waits.
    assert plan.count("USE TEMP B-TREE FOR ORDER BY") == 1
