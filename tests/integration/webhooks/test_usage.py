"""Usage: sums by team, key and day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidInput
from emberbox.service.accounts import usage
from emberbox.service.accounts.quota import Share
from emberbox.service.accounts.usage import Usage, UsageRow, cpu_s_today, record_usage

if TYPE_CHECKING:
    from emberbox.store import Database


async def record(
    database: Database, key_id: str, day: str, *, succeeded: bool = True, cpu_s: float = 0.5
) -> None:
    """Record a job of a key, such as `t/a`: the key `a` of the team `t`."""
    team_id, _, key_id = key_id.partition("/")
    whose = {"team_id": team_id, "key_id": key_id}
    async with database.writing() as connection:
        await record_usage(connection, **whose, day=day, succeeded=succeeded, cpu_s=cpu_s, run_s=2.0)


async def test_jobs_are_summed_by_team_key_and_day(database: Database) -> None:
    await asyncio.gather(
        *(record(database, "t/a", "2026-01-02", succeeded=number % 2 == 0) for number in range(10))
    )
    await record(database, "t/a", "2026-01-03", cpu_s=1.25)
    await record(database, "t/b", "2026-01-03", cpu_s=0.75)
    await record(database, "u/c", "2026-01-02")
    rows = Usage(database)
    assert await rows.read(team_id="t", since="2026-01-01", until="2026-01-02") == [
        UsageRow(team_id="t", key_id="a", day="2026-01-02", jobs=10, succeeded=5, cpu_s=5.0, run_s=20.0)
    ]
    found = await rows.read(team_id=None, since="2026-01-02", until="2026-01-03")
    assert [(row.day, row.team_id, row.key_id) for row in found] == [
        ("2026-01-02", "t", "a"),
        ("2026-01-02", "u", "c"),
        ("2026-01-03", "t", "a"),
        ("2026-01-03", "t", "b"),
    ]
    assert await rows.read(team_id="v", since="2026-01-01", until="2026-12-31") == []
    async with database.reading() as connection:
        assert await cpu_s_today(connection, Share("key", "a", 1), "2026-01-03") == 1.25
        assert await cpu_s_today(connection, Share("team", "t", 1), "2026-01-03") == 2.0
        assert await cpu_s_today(connection, Share("team", "v", 1), "2026-01-03") == 0.0


async def test_nothing_is_recorded_when_the_transaction_fails(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.writing() as connection:
            await record_usage(
                connection, team_id="t", key_id="a", day="2026-01-02", succeeded=True, cpu_s=1, run_s=1
            )
            raise RuntimeError
    assert await Usage(database).read(team_id=None, since="2026-01-01", until="2026-12-31") == []


async def test_a_reading_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 2)
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        await record(database, "t/a", day)
    assert len(await Usage(database).read(team_id=None, since="2026-01-01", until="2026-01-02")) == 2
    with pytest.raises(InvalidInput, match="fewer days"):
        await Usage(database).read(team_id=None, since="2026-01-01", until="2026-01-03")
