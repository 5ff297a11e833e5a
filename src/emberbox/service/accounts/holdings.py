"""What teams store, counted in the transactions that store and delete it.

A content that several scripts and jobs of a team refer to is charged to the team once. Two teams
that store the same are both charged: neither can tell that the other has it, nor gains by it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from emberbox.errors import QuotaExceeded
from emberbox.store.tables import contents, held_contents, holdings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store.database import Database

FULL_RETRY_S = 60.0
"""When a team whose storage is used up may try again: somebody must delete something first."""


def check_share(stored: int, more: int, bound: float) -> None:
    """Raise `QuotaExceeded` if a team that stores so many bytes may not store `more`; a `bound` of 0 is none."""
    if bound and stored + more > bound:
        raise QuotaExceeded(
            f"your team stores {stored} bytes and this needs {more} more; its share is {bound:.0f}. "
            "Delete scripts or jobs, or ask the operator for more (storage_bytes)",
            retry_after_s=FULL_RETRY_S,
        )


async def stored_bytes(db: Database, team_id: str) -> int:
    """Return how many bytes a team stores."""
    return int(await db.scalar(select(holdings.c.bytes).where(holdings.c.team_id == team_id)) or 0)


class Ledger:
    """What teams store and are about to store, within one transaction that writes.

    Args:
        connection: Of that transaction.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._stored: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._held: set[tuple[str, str]] = set()
        self._uses: Counter[tuple[str, str]] = Counter()
        self._more: Counter[str] = Counter()

    async def open(self, teams: Collection[str], digests: Collection[str]) -> None:
        """Read what these teams store, and what is known of contents; holds the teams' rows."""
        self._stored = await _held_rows(self._connection, teams)
        named = {"digests": sorted(digests)}
        for row in await self._connection.execute(_SIZES, named):
            self._sizes[row.sha256] = row.size
        for row in await self._connection.execute(_HELD, {**named, "teams": sorted(teams)}):
            self._held.add((row.team_id, row.sha256))

    def knows(self, digest: str) -> bool:
        """Tell whether a content is stored already."""
        return digest in self._sizes

    def check(self, team_id: str, parts: Mapping[str, int], more: int, bound: float) -> None:
        """Check whether a team may store contents, and `more` bytes besides. Raises `QuotaExceeded`.

        Args:
            team_id: The team.
            parts: Sizes of the contents by digest.
            more: Bytes of rows.
            bound: Most that the team may store; 0 for no bound.
        """
        stored = self._stored[team_id] + self._more[team_id]
        check_share(stored, self.new_bytes(team_id, parts) + more, bound)

    def new_bytes(self, team_id: str, parts: Mapping[str, int]) -> int:
        """Return how many bytes of these contents the team does not hold yet; see `check`."""
        return sum(size for digest, size in parts.items() if (team_id, digest) not in self._held)

    def size(self, digest: str) -> int:
        """Return a content's size; 0 for one that is not stored."""
        return self._sizes.get(digest, 0)

    def add(self, team_id: str, parts: Mapping[str, int], uses: Iterable[str], more: int) -> None:
        """Charge a team: `uses` are digests, one for each reference; the other arguments as for `check`."""
        for digest, size in parts.items():
            if (team_id, digest) not in self._held:
                self._held.add((team_id, digest))
                self._more[team_id] += size
        self._uses.update((team_id, digest) for digest in uses)
        self._more[team_id] += more

    async def write(self) -> None:
        """Write what was added."""
        if self._uses:
            rows = [
                {"team_id": team, "sha256": digest, "uses": count}
                for (team, digest), count in sorted(self._uses.items())
            ]
            await self._connection.execute(_USE[self._connection.dialect.name], rows)
        await charge(self._connection, self._more)


async def charge(connection: AsyncConnection, more: Mapping[str, int]) -> None:
    """Add bytes to what teams store, within the caller's transaction; negative ones are given back."""
    if rows := [{"team_id": team, "bytes": size} for team, size in sorted(more.items()) if size]:
        await connection.execute(_CHARGE[connection.dialect.name], rows)


async def release(
    connection: AsyncConnection, uses: Counter[tuple[str, str]], freed: Mapping[str, int]
) -> list[str]:
    """Give back what teams stored, within the caller's transaction.

    Args:
        connection: Of a transaction that writes, and in which what referred to the contents is deleted.
        uses: How many references go, by team and digest.
        freed: Bytes besides the contents, by team.

    Returns:
        Digests of contents that a team holds no more: where no other does, they are to be deleted
        after the commit (`emberbox.service.uploads.contents.remove_unheld`).
    """
    less = Counter({team: -size for team, size in freed.items()})
    loose = []
    await _held_rows(connection, {team for team, _ in uses} | set(freed))
    for (team, digest), count in sorted(uses.items()):
        this = {"team": team, "digest": digest}
        left = await connection.scalar(_FEWER, {**this, "count": count})
        if left is not None and left <= 0:
            await connection.execute(_DROP, this)
            less[team] -= int(await connection.scalar(_SIZE, {"digest": digest}) or 0)
            loose.append(digest)
    await charge(connection, less)
    return loose


async def _held_rows(connection: AsyncConnection, teams: Collection[str]) -> dict[str, int]:
    """Return what teams store, and hold their rows until the transaction ends, in one order for all."""
    named = {"teams": sorted(teams)}
    stored = {row.team_id: row.bytes for row in await connection.execute(_STORED, named)}
    if missing := [{"team_id": team, "bytes": 0} for team in named["teams"] if team not in stored]:
        await connection.execute(_CHARGE[connection.dialect.name], missing)
        stored = {row.team_id: row.bytes for row in await connection.execute(_STORED, named)}
    return stored


def _adding(make: Any, table: Table, count: str) -> Any:
    """Return the statement that makes a row, or adds to the count of the one that is there."""
    row = make(table)
    more = {count: table.c[count] + row.excluded[count]}
    return row.on_conflict_do_update(index_elements=list(table.primary_key), set_=more)


_MAKERS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_USE = {name: _adding(make, held_contents, "uses") for name, make in _MAKERS.items()}
_CHARGE = {name: _adding(make, holdings, "bytes") for name, make in _MAKERS.items()}
_STORED = (
    select(holdings.c.team_id, holdings.c.bytes)
    .where(holdings.c.team_id.in_(bindparam("teams", expanding=True)))
    .order_by(holdings.c.team_id)
    .with_for_update()
)
_SIZES = select(contents.c.sha256, contents.c.size).where(
    contents.c.sha256.in_(bindparam("digests", expanding=True))
)
_SIZE = select(contents.c.size).where(contents.c.sha256 == bindparam("digest"))
_HELD = select(held_contents.c.team_id, held_contents.c.sha256).where(
    held_contents.c.team_id.in_(bindparam("teams", expanding=True)),
    held_contents.c.sha256.in_(bindparam("digests", expanding=True)),
)
_THIS = (held_contents.c.team_id == bindparam("team"), held_contents.c.sha256 == bindparam("digest"))
_FEWER = (
    update(held_contents)
    .where(*_THIS)
    .values(uses=held_contents.c.uses - bindparam("count"))
    .returning(held_contents.c.uses)
)
_DROP = delete(held_contents).where(*_THIS)
