"""Bytes are given back together: what a sweep deletes costs others no wait for each of its parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import insert

from emberbox.service.accounts.holdings import Ledger, Refund, stored_bytes
from emberbox.store.tables import contents

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store import Database

SIZE = 10


@dataclass(frozen=True)
class Owner:
    team_id: str = "team_x"
    key_id: str = "key_x"


class Counted:
    """A connection that counts the statements that go through it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.dialect = connection.dialect
        self.statements = 0
        self._connection = connection

    async def execute(self, *arguments: Any) -> Any:
        self.statements += 1
        return await self._connection.execute(*arguments)


def digests_of(name: str, count: int) -> list[str]:
    return [hashlib.sha256(f"{name} {number}".encode()).hexdigest() for number in range(count)]


async def store(database: Database, digests: list[str], uses: list[str]) -> None:
    """Store contents to which there are these references, all of one owner."""
    rows = [
        {"sha256": one, "kind": "file", "size": SIZE, "entries": [], "data": b"x", "touched_at": 0}
        for one in digests
    ]
    async with database.writing() as connection:
        await connection.execute(insert(contents), rows)
        ledger = Ledger(connection)
        await ledger.open(["team_x", "key_x"], digests)
        ledger.add(Owner(), dict.fromkeys(digests, SIZE), uses, 0)
        await ledger.write()


async def give_back(database: Database, digests: list[str]) -> tuple[list[str], int]:
    """Give one reference to each back; returns what is held no more, and how many statements it took."""
    refund = Refund()
    for one in digests:
        refund.add(Owner(), [one])
    async with database.writing() as connection:
        counted = Counted(connection)
        loose = await refund.write(cast("AsyncConnection", counted))
    return loose, counted.statements


async def test_many_are_given_back_in_as_many_statements_as_few(database: Database) -> None:
    few, many = digests_of("few", 2), digests_of("many", 40)
    await store(database, few, few)
    await store(database, many, many)

    loose_of_few, for_few = await give_back(database, few)
    loose_of_many, for_many = await give_back(database, many)

    assert (loose_of_few, loose_of_many) == (sorted(few), sorted(many))
    assert for_many == for_few
    assert await stored_bytes(database, ["team_x", "key_x"]) == {"team_x": 0, "key_x": 0}


async def test_what_is_referred_to_once_more_stays_charged(database: Database) -> None:
    digests = digests_of("some", 3)
    await store(database, digests, [*digests, digests[0]])

    loose, _ = await give_back(database, digests)

    assert loose == sorted(digests[1:])
    assert await stored_bytes(database, ["team_x", "key_x"]) == {"team_x": SIZE, "key_x": SIZE}
    assert (await give_back(database, digests[:1]))[0] == digests[:1]
    assert await stored_bytes(database, ["team_x", "key_x"]) == {"team_x": 0, "key_x": 0}
