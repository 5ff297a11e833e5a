"""Going through all sealed texts of a database: what they are sealed with, and sealing them anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select, update

from emberbox.errors import SecretsUnavailable
from emberbox.service.secrets import sealing
from emberbox.service.secrets.holdings import HOLDINGS, Holding, Texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.secrets.keys import Keyring
    from emberbox.store.database import Database

Row = dict[str, Any]
_PAGE = 200
_NAMED = 10


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        rows: How many rows are sealed with each key, by its id; those with texts that are plain under "".
        unreadable: How many rows cannot be read, by what they are and why.
        examples: Ids of some of them.
        written: How many rows were sealed anew.
    """

    rows: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    written: int = 0


async def examine(db: Database, ring: Keyring | None) -> Report:
    """Return what all rows are sealed with, and which cannot be read.

    Changes nothing. Raises `StoreError`.
    """
    report = Report()
    for holding in HOLDINGS:
        async for rows in _pages(db, holding):
            for row in rows:
                _note(report, holding, row, ring)
    return report


async def reseal(db: Database, ring: Keyring) -> Report:
    """Seal all texts with the ring's first key that are sealed with another one, or plain.

    A page of rows is one transaction: broken off, it leaves each row as it was or as it will be, and can be
    repeated. What cannot be read stays as it is.

    Raises:
        StoreError, NoSpace: The rows so far are sealed anew.
    """
    report = Report()
    for holding in HOLDINGS:
        async for rows in _pages(db, holding):
            stale = [row["id"] for row in rows if _stale(holding, row, ring)]
            if stale:
                async with db.writing() as connection:
                    report.written += await _rewrite(connection, holding, stale, ring)
                rows = await _found(db, _of(holding, [row["id"] for row in rows]))
            for row in rows:
                _note(report, holding, row, ring)
    return report


async def _pages(db: Database, holding: Holding) -> AsyncIterator[list[Row]]:
    last, column = "", holding.table.c.id
    while True:
        query = select(holding.table).where(holding.where, column > last).order_by(column).limit(_PAGE)
        rows = await _found(db, query)
        if not rows:
            return
        last = rows[-1]["id"]
        yield rows


async def _rewrite(connection: AsyncConnection, holding: Holding, ids: list[str], ring: Keyring) -> int:
    """Seal rows anew within a transaction, as they are in it; returns how many."""
    table, written = holding.table, 0
    found = (await connection.execute(_of(holding, ids).with_for_update())).mappings().all()
    for row in map(dict[str, Any], found):
        try:
            texts = _anew(holding.read(row), ring)
        except SecretsUnavailable:
            continue
        if texts:
            value = {holding.column.name: holding.write(row, texts)}
            await connection.execute(update(table).where(table.c.id == row["id"]).values(**value))
            written += 1
    return written


async def _found(db: Database, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in await db.rows(query)]


def _of(holding: Holding, ids: list[str]) -> Select[Any]:
    return select(holding.table).where(holding.table.c.id.in_(ids)).order_by(holding.table.c.id)


def _anew(texts: Texts, ring: Keyring) -> Texts:
    return {
        place: sealing.seal(ring.current, sealing.unseal(ring, text, place), place)
        for place, text in texts.items()
    }


def _stale(holding: Holding, row: Row, ring: Keyring) -> bool:
    return any(sealing.key_of(text) != ring.current.id for text in holding.read(row).values())


def _note(report: Report, holding: Holding, row: Row, ring: Keyring | None) -> None:
    texts = holding.read(row)
    problem = _problem(texts, ring)
    if problem is None:
        report.rows.update({sealing.key_of(text) or "" for text in texts.values()})
        return
    report.unreadable[holding.what, problem] += 1
    if len(report.examples) < _NAMED:
        report.examples.append(row["id"])


def _problem(texts: Texts, ring: Keyring | None) -> str | None:
    """Return why texts cannot be read; None where they can."""
    try:
        for place, text in texts.items():
            if ring is None and (key_id := sealing.key_of(text)) is not None:
                return f"sealed with the key {key_id[:32]!r}, and there are no keys"
            if ring is not None:
                sealing.unseal(ring, text, place)
    except SecretsUnavailable as error:
        return error.message
    return None
