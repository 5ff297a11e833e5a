"""Connections and transactions, on both databases."""

from __future__ import annotations

import asyncio
import random
import traceback
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from emberbox.config import StoreSettings
from emberbox.errors import InvalidSettings, StoreError
from emberbox.store.database import database_url
from emberbox.store.tables import meta
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.store import Database


async def put(db: Database, name: str, value: str) -> None:
    async with db.writing() as connection:
        await connection.execute(insert(meta).values(name=name, value=value))


async def get(db: Database, name: str) -> str | None:
    async with db.reading() as connection:
        return (await connection.execute(select(meta.c.value).where(meta.c.name == name))).scalar()


async def test_what_is_committed_is_read_and_what_fails_is_not(database: Database) -> None:
    await put(database, "one", "1")
    assert await get(database, "one") == "1"
    with pytest.raises(RuntimeError, match="on purpose"):
        async with database.writing() as connection:
            await connection.execute(insert(meta).values(name="two", value="2"))
            raise RuntimeError("on purpose")
    assert await get(database, "two") is None
    with pytest.raises(IntegrityError):
        await put(database, "one", "again")


async def test_what_was_to_be_written_is_not_told_when_it_fails(database: Database) -> None:
    """Rows hold secrets: of environments, of webhooks."""
    for value in ({"no": "text", "secret": "hunter2"}, "hunter2"):
        with pytest.raises(StoreError) as caught:
            async with database.writing() as connection:
                await connection.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": value})
        assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + str(caught.value.detail)


async def test_readers_hold_up_nobody(database: Database) -> None:
    await put(database, "x", "before")
    # A writer whom readers held up would wait for them until its own bound, and fail: they end after it.
    async with database.reading() as one, database.reading() as two:
        query = select(meta.c.value).where(meta.c.name == "x")
        assert (await one.execute(query)).scalar() == (await two.execute(query)).scalar() == "before"
        async with database.writing() as writer:
            await writer.execute(update(meta).where(meta.c.name == "x").values(value="after"))
    assert await get(database, "x") == "after"


async def test_writers_take_turns(database: Database) -> None:
    await put(database, "count", "0")

    async def add() -> None:
        async with database.writing() as connection:
            locked = select(meta.c.value).where(meta.c.name == "count").with_for_update()
            value = int((await connection.execute(locked)).scalar_one())
            await connection.execute(update(meta).where(meta.c.name == "count").values(value=str(value + 1)))

    await asyncio.gather(*(add() for _ in range(50)))
    assert await get(database, "count") == "50"


async def test_cancelling_leaves_connections_whole(database: Database) -> None:
    await put(database, "x", "1")
    dice = random.Random(5)  # noqa: S311

    async def use() -> None:
        if dice.random() < 0.5:
            await get(database, "x")
        else:
            async with database.writing() as connection:
                await connection.execute(update(meta).where(meta.c.name == "x").values(value="1"))

    for _ in range(150):
        tasks = [asyncio.create_task(use()) for _ in range(5)]
        await asyncio.sleep(dice.uniform(0, 0.004))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=PATIENCE_S)
        assert all(task.done() for task in tasks)
    assert await asyncio.wait_for(get(database, "x"), PATIENCE_S) == "1"
    await asyncio.wait_for(put(database, "y", "2"), PATIENCE_S)


async def test_single_statements(database: Database) -> None:
    for name in ("a", "b", "c"):
        assert await database.change(insert(meta), {"name": name, "value": name.upper()}) == 1
    by_name = select(meta).order_by(meta.c.name)
    assert [row["value"] for row in await database.rows(by_name)] == ["A", "B", "C"]
    one = select(meta.c.value).where(meta.c.name == bindparam("wanted"))
    found = await database.row(one, {"wanted": "b"})
    assert found is not None
    assert dict(found) == {"value": "B"}
    assert await database.row(one, {"wanted": "x"}) is None
    assert await database.scalar(by_name.with_only_columns(meta.c.value)) == "A"
    gone = delete(meta).where(meta.c.name != "b").returning(meta.c.name)
    assert sorted(row["name"] for row in await database.changed(gone)) == ["a", "c"]
    with pytest.raises(IntegrityError):
        await database.change(insert(meta), {"name": "b", "value": "again"})
    assert await database.scalar(select(func.count()).select_from(meta)) == 1


async def test_what_was_begun_is_carried_out_when_its_caller_is_cancelled(database: Database) -> None:
    writing = asyncio.create_task(database.change(insert(meta), {"name": "x", "value": "1"}))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await get(database, "x") == "1"


async def test_failures_are_told_without_the_statement(database: Database) -> None:
    with pytest.raises(StoreError) as caught:
        async with database.reading() as connection:
            await connection.execute(text("SELECT secret FROM nowhere"))
    assert "nowhere" not in caught.value.message
    assert "nowhere" in (caught.value.detail or "")


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "://", "oracle://"])
def test_other_databases_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"store\.url"):
        database_url(StoreSettings(url=url), tmp_path)


def test_the_usual_database_lies_in_the_data_folder(tmp_path: Path) -> None:
    assert database_url(StoreSettings(), tmp_path) == f"sqlite+aiosqlite:///{tmp_path}/service.db"
    assert (
        database_url(StoreSettings(url="postgresql://me:word@host/db"), tmp_path)
        == "postgresql+asyncpg://me:word@host/db"
    )
