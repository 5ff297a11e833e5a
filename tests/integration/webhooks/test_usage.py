"""Usage: sums by key and day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidInput
from emberbox.service.accounts import usage
from emberbox.service.accounts.usage import Usage, UsageRow, cpu_s_today, record_usage

if TYPE_CHECKING:
    from emberbox.store import Database


async def record(
    database: Database, key_id: str, day: str, *, succeeded: bool = True, cpu_s: float = 0.5
) -> None:
    async with database.writing() as connection:
        await record_usage(connection, key_id=key_id, day=day, succeeded=succeeded, cpu_s=cpu_s, run_s=2.0)


async def test_jobs_are_summed_by_key_and_day(database: Database) -> None:
    await asyncio.gather(
        *(record(database, "a", "2026-01-02", succeeded=number % 2 == 0) for number in range(10))
    )
    await record(database, "a", "2026-01-03", cpu_s=1.25)
    await record(database, "b", "2026-01-02")
    rows = Usage(database)
    assert await rows.read(key_id="a", since="2026-01-01", until="2026-01-02") == [
        UsageRow(key_id="a", day="2026-01-02", jobs=10, succeeded=5, cpu_s=5.0, run_s=20.0)
    ]
    assert [
        (row.day, row.key_id) for row in await rows.read(key_id=None, since="2026-01-02", until="2026-01-03")
    ] == [
        ("2026-01-02", "a"),
        ("2026-01-02", "b"),
        ("2026-01-03", "a"),
    ]
    assert await rows.read(key_id="c", since="2026-01-01", until="2026-12-31") == []
    async with database.reading() as connection:
        assert await cpu_s_today(connection, "a", "2026-01-03") == 1.25
        assert await cpu_s_today(connection, "c", "2026-01-03") == 0.0


async def test_nothing_is_recorded_when_the_transaction_fails(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.writing() as connection:
            await record_usage(connection, key_id="a", day="2026-01-02", succeeded=True, cpu_s=1, run_s=1)
            raise RuntimeError
    assert await Usage(database).read(key_id=None, since="2026-01-01", until="2026-12-31") == []


async def test_a_reading_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 2)
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        await record(database, "a", day)
    assert len(await Usage(database).read(key_id=None, since="2026-01-01", until="2026-01-02")) == 2
    with pytest.raises(InvalidInput, match="fewer days"):
        await Usage(database).read(key_id=None, since="2026-01-01", until="2026-01-03")
