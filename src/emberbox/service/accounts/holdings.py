"""What teams and their keys store, counted in the transactions that store and delete it.

A content that several scripts and jobs of a team refer to is charged to the team once. Two teams
that store the same are both charged: neither can tell that the other has it, nor gains by it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select, update

from emberbox.errors import QuotaExceeded
from emberbox.store.tables import contents, held_contents, holdings
from emberbox.store.upserts import adding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Charged, Share
    from emberbox.store.database import Database

FULL_RETRY_S = 60.0
"""When a team whose storage is used up may try again: somebody must delete something first."""


def owners(of: Charged) -> tuple[str, str]:
    """Return to whom something is charged: its team, and its key."""
    return of.team_id, of.key_id


def check_share(share: Share, stored: int, more: int) -> None:
    """Raise `QuotaExceeded` if `more` bytes are too many for a share of which so many are used."""
    if stored + more > share.bound:
        raise QuotaExceeded(
            f"this {share.whose} stores {stored} bytes and asks for {more} more; its share is "
            f"{share.bound:.0f}. Delete scripts or jobs, or ask for more (storage_bytes)",
            retry_after_s=FULL_RETRY_S,
        )


async def stored_bytes(db: Database, owner_ids: Collection[str]) -> dict[str, int]:
    """Return how many bytes teams or keys store, by their ids."""
    found = {row["owner_id"]: row["bytes"] for row in await db.rows(_LOOK, {"owners": sorted(owner_ids)})}
    return {owner: found.get(owner, 0) for owner in owner_ids}


class Ledger:
    """What is stored, and is about to be, within one transaction that writes.

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

    async def open(self, owner_ids: Collection[str], digests: Collection[str]) -> None:
        """Read what these store, and what is known of contents; holds the owners' rows."""
        self._stored = await _locked(self._connection, owner_ids)
        self._sizes = await _sizes(self._connection, digests)
        named = {"owners": sorted(owner_ids), "digests": sorted(digests)}
        for row in await self._connection.execute(_HELD, named):
            self._held.add((row.owner_id, row.sha256))

    def knows(self, digest: str) -> bool:
        """Tell whether a content is stored already."""
        return digest in self._sizes

    def size(self, digest: str) -> int:
        """Return a content's size; 0 for one that is not stored."""
        return self._sizes.get(digest, 0)

    def new_bytes(self, owner_id: str, parts: Mapping[str, int]) -> int:
        """Return how many bytes of contents (sizes by digest) an owner does not hold yet."""
        return sum(size for digest, size in parts.items() if (owner_id, digest) not in self._held)

    def check(self, shares: Sequence[Share], parts: Mapping[str, int], more: int) -> None:
        """Check whether contents, and `more` bytes besides, may be stored. Raises `QuotaExceeded`.

        Args:
            shares: Of the owners.
            parts: Sizes of the contents by digest.
            more: Bytes of rows.
        """
        for share in shares:
            stored = self._stored[share.id] + self._more[share.id]
            check_share(share, stored, self.new_bytes(share.id, parts) + more)

    def add(self, of: Charged, parts: Mapping[str, int], uses: Iterable[str], more: int) -> None:
        """Charge what is stored: `uses` are digests, one for each reference; see `check` for the others."""
        counted = Counter(iter(uses))
        for owner in owners(of):
            self._more[owner] += self.new_bytes(owner, parts) + more
            self._held.update((owner, digest) for digest in parts)
            for digest, count in counted.items():
                self._uses[owner, digest] += count

    async def write(self) -> None:
        """Write what was added."""
        if self._uses:
            rows = [
                {"owner_id": owner, "sha256": digest, "uses": count}
                for (owner, digest), count in sorted(self._uses.items())
            ]
            await self._connection.execute(_USE[self._connection.dialect.name], rows)
        await _move(self._connection, self._more)


async def charge(connection: AsyncConnection, of: Charged, more: int) -> None:
    """Add bytes to what something's team and key store, within the caller's transaction."""
    await _move(connection, dict.fromkeys(owners(of), more))


class Refund:
    """What is deleted within one transaction, to be given back to those who stored it."""

    def __init__(self) -> None:
        self._uses: Counter[tuple[str, str]] = Counter()
        self._freed: Counter[str] = Counter()

    def add(self, of: Charged, digests: Iterable[str | None] = (), freed: int = 0) -> None:
        """Give back references to contents, and bytes besides."""
        named = [digest for digest in digests if digest is not None]
        for owner in owners(of):
            self._freed[owner] += freed
            self._uses.update((owner, digest) for digest in named)

    async def write(self, connection: AsyncConnection) -> list[str]:
        """Write what was added, within a transaction that deletes what referred to the contents.

        Returns:
            Digests of contents that an owner holds no more: where no other does, they are to be
            deleted after the commit (`emberbox.service.uploads.contents.remove_unheld`).
        """
        less = Counter({owner: -size for owner, size in self._freed.items()})
        await _locked(connection, self._freed)
        dropped = await self._drop(connection) if self._uses else []
        loose = sorted({digest for _, digest in dropped})
        sizes = await _sizes(connection, loose)
        for owner, digest in dropped:
            less[owner] -= sizes.get(digest, 0)
        await _move(connection, less)
        return loose

    async def _drop(self, connection: AsyncConnection) -> list[tuple[str, str]]:
        """Take the references away; returns which owner holds which content no more.

        All at once: a sweep has a thousand of them, and others wait until its transaction ends.
        """
        fewer = [
            {"owner": owner, "digest": digest, "count": count}
            for (owner, digest), count in sorted(self._uses.items())
        ]
        await connection.execute(_FEWER, fewer)
        named = {
            "owners": sorted({owner for owner, _ in self._uses}),
            "digests": sorted({digest for _, digest in self._uses}),
        }
        return [(row.owner_id, row.sha256) for row in await connection.execute(_DROP, named)]


async def _move(connection: AsyncConnection, more: Mapping[str, int]) -> None:
    if rows := [{"owner_id": owner, "bytes": size} for owner, size in sorted(more.items()) if size]:
        await connection.execute(_MOVE[connection.dialect.name], rows)


async def _sizes(connection: AsyncConnection, digests: Collection[str]) -> dict[str, int]:
    """Return the sizes of contents, of those that are stored."""
    found = await connection.execute(_SIZES, {"digests": sorted(digests)})
    return {row.sha256: row.size for row in found}


async def _locked(connection: AsyncConnection, owner_ids: Collection[str]) -> dict[str, int]:
    """Return what owners store, and hold their rows until the transaction ends, in one order for all."""
    named = {"owners": sorted(owner_ids)}
    stored = {row.owner_id: row.bytes for row in await connection.execute(_STORED, named)}
    if missing := [{"owner_id": owner, "bytes": 0} for owner in named["owners"] if owner not in stored]:
        await connection.execute(_MOVE[connection.dialect.name], missing)
        stored = {row.owner_id: row.bytes for row in await connection.execute(_STORED, named)}
    return stored


_USE = adding(held_contents, "uses")
_MOVE = adding(holdings, "bytes")
_LOOK = select(holdings.c.owner_id, holdings.c.bytes).where(
    holdings.c.owner_id.in_(bindparam("owners", expanding=True))
)
_STORED = _LOOK.order_by(holdings.c.owner_id).with_for_update()
_SIZES = select(contents.c.sha256, contents.c.size).where(
    contents.c.sha256.in_(bindparam("digests", expanding=True))
)
_THESE = (
    held_contents.c.owner_id.in_(bindparam("owners", expanding=True)),
    held_contents.c.sha256.in_(bindparam("digests", expanding=True)),
)
_HELD = select(held_contents.c.owner_id, held_contents.c.sha256).where(*_THESE)
_FEWER = (
    update(held_contents)
    .where(held_contents.c.owner_id == bindparam("owner"), held_contents.c.sha256 == bindparam("digest"))
    .values(uses=held_contents.c.uses - bindparam("count"))
)
_DROP = (
    delete(held_contents)
    .where(*_THESE, held_contents.c.uses <= 0)
    .returning(held_contents.c.owner_id, held_contents.c.sha256)
)
