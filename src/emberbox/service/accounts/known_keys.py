"""Who calls: keys are known by their secrets.

A key is `ember_` and 43 characters that hold 256 random bits. The database holds its SHA-256 alone:
nobody can guess 256 random bits, however fast the hash, so a slow hash as for passwords would only
cost time at each request. A key is found by its hash in an index: how long that takes tells nothing
about the key, since the hash of a guess does not get nearer to the right one.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_, update

from emberbox.errors import KeySuspended, NotAllowed, NotAuthenticated, StoreError
from emberbox.service.accounts.key_rows import KEYS, key_record
from emberbox.service.accounts.watch import Hold, KeyWatch
from emberbox.store.database import Database, now_us
from emberbox.store.tables import keys
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping

    from emberbox.errors import EmberboxError
    from emberbox.store.records import KeyRecord

CACHE_S = 5.0
"""How long another process's change to a key may go unnoticed by new requests; connections that are
open notice sooner (`WATCH_S`), and no job is accepted of a key that may not be used."""
CACHED_KEYS = 10_000
USED_S = 30.0
"""Interval at which times of last use are written."""

_LOOKED_UP = 500
"""Keys that one question asks the database for."""
_HASHES = ("hash", "previous_hash")
_SECRET = re.compile(r"ember_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class _Known:
    record: KeyRecord
    good_until_us: float
    looked_up: float


class KnownKeys:
    """The keys of a database, as those know them who are called with one.

    Args:
        db: Holds them.
        cache_s: How long a key that was looked up is trusted without another look, in seconds.
            Changes after which `forget` is called show at once.
    """

    def __init__(self, db: Database, *, cache_s: float = CACHE_S) -> None:
        self._db = db
        self._cache_s = cache_s
        self._cache: dict[str, _Known] = {}
        self._generation = 0
        self._used: dict[str, int] = {}
        self._written = time.monotonic()
        self._keeper = TaskKeeper()
        self.watch = KeyWatch(self._judge)
        """Tells those who hold connections open of the ends of their keys; runs while the service does."""

    async def authenticate(self, secret: str) -> KeyRecord:
        """Return the key that a secret belongs to, and note its use.

        Raises:
            NotAuthenticated: No key has that secret, or it expired, was revoked or was rotated
                away. The message does not say which.
            KeySuspended: It may do nothing for now.
        """
        known = await self._known(digest_of(secret)) if _SECRET.fullmatch(secret) else None
        if known is None:
            raise _unknown()
        if (refusal := _refusal(known)) is not None:
            raise refusal
        self._note_use(known.record.id, now_us())
        return known.record

    def hold(self, secret: str, record: KeyRecord) -> Hold:
        """Return what tells when the key that `secret` was good for is so no longer."""
        return Hold(self.watch, digest_of(secret), record.scopes)

    async def _judge(self, holds: Sequence[Hold]) -> list[EmberboxError | None]:
        """Return of each hold what speaks against it, by a look at the database; see `KeyWatch`."""
        found: dict[str, _Known] = {}
        digests = sorted({hold.digest for hold in holds})
        for start in range(0, len(digests), _LOOKED_UP):
            some = digests[start : start + _LOOKED_UP]
            query = KEYS.where(or_(keys.c.hash.in_(some), keys.c.previous_hash.in_(some)))
            for row in await self._db.rows(query):
                found |= {row[name]: _known_by(row, row[name]) for name in _HASHES if row[name] is not None}
        return [_verdict(found.get(hold.digest), hold.scopes) for hold in holds]

    async def _known(self, digest: str) -> _Known | None:
        known = self._cache.get(digest)
        if known is not None and time.monotonic() - known.looked_up <= self._cache_s:
            return known
        generation = self._generation
        found = or_(keys.c.hash == digest, keys.c.previous_hash == digest)
        row = await self._db.row(KEYS.where(found))
        if row is None:
            self._cache.pop(digest, None)
            return None
        known = _known_by(row, digest)
        # A row that was read before a change, and arrives after it, must not be remembered.
        if generation == self._generation:
            if len(self._cache) >= CACHED_KEYS:
                self._cache.clear()
            self._cache[digest] = known
        return known

    def _note_use(self, key_id: str, now: int) -> None:
        self._used[key_id] = now
        if time.monotonic() - self._written > USED_S:
            self._written = time.monotonic()
            self._keeper.start(self._write_uses(), "keys-last-used")

    async def flush(self) -> None:
        """Write the times of last use that are not written yet, and wait for those being written.

        Safe to repeat.
        """
        self._written = time.monotonic()
        await self._keeper.settle()
        await self._write_uses()

    async def _write_uses(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        later = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < bindparam("used"))
        statement = (
            update(keys).where(keys.c.id == bindparam("key"), later).values(last_used_at=bindparam("used"))
        )
        try:
            await self._db.change(
                statement, [{"key": key_id, "used": used[key_id]} for key_id in sorted(used)]
            )
        except StoreError:
            self._used = used | self._used
            raise

    def forget(self) -> None:
        """Look each key up again: what is known of them, or of their teams, has changed."""
        self._generation += 1
        self._cache.clear()
        self.watch.look()


def digest_of(secret: str) -> str:
    """Return what the database holds of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _known_by(row: RowMapping, digest: str) -> _Known:
    """Return what is known of the key that a secret belongs to, given the secret's digest."""
    good_until = math.inf if row["expires_at"] is None else row["expires_at"]
    if row["hash"] != digest:
        good_until = min(good_until, row["previous_until_at"] or 0)
    return _Known(key_record(row), good_until, time.monotonic())


def _unknown() -> NotAuthenticated:
    return NotAuthenticated(
        "the API key is not known, has expired or was revoked; ask an administrator for another one"
    )


def _refusal(known: _Known) -> EmberboxError | None:
    """Return what speaks against the use of a key now; None for nothing."""
    if known.record.revoked_at is not None or now_us() >= known.good_until_us:
        return _unknown()
    if known.record.suspended_at is not None:
        return KeySuspended("this key is suspended; ask an administrator of its team to resume it")
    return None


def _verdict(known: _Known | None, scopes: frozenset[str]) -> EmberboxError | None:
    """Return what speaks against going on with a key that once had these scopes; None for nothing."""
    if known is None:
        return _unknown()
    if (refusal := _refusal(known)) is not None:
        return refusal
    if missing := sorted(scopes - known.record.scopes):
        return NotAllowed(f"this key has lost the scope {missing[0]!r} meanwhile; connect again")
    return None
