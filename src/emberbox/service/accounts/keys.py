"""API keys: who may call the service, and what for.

A key is `ember_` and 43 characters that hold 256 random bits. The database holds its SHA-256 alone:
nobody can guess 256 random bits, however fast the hash, so a slow hash as for passwords would only
cost time at each request. A key is found by its hash in an index: how long that takes tells nothing
about the key, since the hash of a guess does not get nearer to the right one.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, or_, update

from emberbox.errors import KeySuspended, NotAllowed, NotAuthenticated, StoreError
from emberbox.ids import new_id
from emberbox.service.accounts.key_rows import (
    KEYS,
    MANAGING,
    active_operators,
    change_key,
    check_grants,
    check_not_last_operator,
    get_active_key,
    get_key,
    get_managed_key,
    in_future,
    key_record,
    quota_column,
    scopes_column,
)
from emberbox.service.accounts.team_rows import get_team
from emberbox.service.accounts.watch import Hold, KeyWatch
from emberbox.service.ownership import team_of_list
from emberbox.store.database import Database, now_us
from emberbox.store.tables import FIRST_TEAM, keys
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.errors import EmberboxError
    from emberbox.store.records import KeyRecord

_log = logging.getLogger(__name__)

CACHE_S = 5.0
"""How long another process's change to a key may go unnoticed by new requests; connections that are
open notice sooner (`WATCH_S`), and no job is accepted of a key that may not be used."""
CACHED_KEYS = 10_000
USED_S = 30.0
"""Interval at which times of last use are written."""
GRACE_S = 7 * 86_400.0
"""Longest time for which a rotated secret stays good."""

_LOOKED_UP = 500
"""Keys that one question asks the database for."""
_HASHES = ("hash", "previous_hash")
_PREFIX = "ember_"
_SECRET = re.compile(r"ember_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class _Known:
    record: KeyRecord
    good_until_us: float
    looked_up: float


class Keys:
    """The keys of a database.

    Args:
        db: Holds them.
        cache_s: How long a key that was looked up is trusted without another look, in seconds.
            Changes made through this object show at once.
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

    # -- asking -----------------------------------------------------------------------------------

    async def authenticate(self, secret: str) -> KeyRecord:
        """Return the key that a secret belongs to, and note its use.

        Raises:
            NotAuthenticated: No key has that secret, or it expired, was revoked or was rotated
                away. The message does not say which.
            KeySuspended: It may do nothing for now.
        """
        known = await self._known(_digest(secret)) if _SECRET.fullmatch(secret) else None
        if known is None:
            raise _unknown()
        if (refusal := _refusal(known)) is not None:
            raise refusal
        self._note_use(known.record.id, now_us())
        return known.record

    def hold(self, secret: str, record: KeyRecord) -> Hold:
        """Return what tells when the key that `secret` was good for is so no longer."""
        return Hold(self.watch, _digest(secret), record.scopes)

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

    async def get(self, key_id: str, *, by: KeyRecord | None = None) -> KeyRecord:
        """Return a key that `by` reaches; raises `NotFound`."""
        return await self._db.read(lambda connection: get_key(connection, key_id, by))

    async def list(
        self, team_id: str | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[KeyRecord], str | None]:
        """Return a page of keys, newest first, and the cursor of the next page (None on the last one).

        Args:
            team_id: Of this team; None for those of all teams.
            cursor: Where the page begins.
            limit: Most of one page.

        Raises:
            InvalidInput: The cursor is none that was given out.
        """
        query = KEYS if team_id is None else KEYS.where(keys.c.team_id == team_id)
        return await self._db.page(query, keys.c.id, key_record, cursor, limit, prefix="key")

    # -- changing ---------------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        team_id: str = FIRST_TEAM,
        expires_at: int | None = None,
        quota: dict[str, float] | None = None,
        by: KeyRecord | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key. Returns it with its secret, which cannot be shown again.

        Args:
            name: For people.
            scopes: Of `read`, `run`, `admin`, `operator`; see `IMPLIED`.
            team_id: Its team, for good; the one that every installation has, if not given.
            expires_at: Microseconds since the epoch from which on it is refused; None for never.
            quota: By what it is narrower than its team's, by the names of `QuotaSettings`.
            by: Whoever makes it; None for the service itself.

        Raises:
            NotAllowed: It would have a scope that `by` has not, or another team.
            NotFound: There is no such team.
            InvalidInput: No scope, or an unknown one; an unknown quota; an expiry that has passed.
        """
        scopes = list(scopes)
        if by is not None:
            check_grants(by, scopes)
            team_of_list(by, team_id)
        secret, digest = _new_secret()
        values = {
            "id": new_id("key"),
            "team_id": team_id,
            "name": name,
            "hash": digest,
            "hint": secret[-4:],
            "scopes": scopes_column(scopes),
            "quota": quota_column(quota or {}),
            "created_at": now_us(),
            "expires_at": in_future(expires_at),
        }
        async with self._db.writing() as connection:
            await get_team(connection, team_id)
            await connection.execute(insert(keys).values(values))
            record = await get_key(connection, str(values["id"]))
        _log.info("key created", extra={"action": "keys.created", "key_id": record.id})
        return record, secret

    async def update(self, key_id: str, *, by: KeyRecord | None = None, **changes: Any) -> KeyRecord:
        """Change `name`, `scopes`, `expires_at` or `quota`, each as `create` takes it; the others stay.

        Raises:
            NotFound: There is no such key.
            NotAllowed: It has, or would have, a scope that `by` has not.
            InvalidInput: As of `create`.
            Conflict: The key was revoked, or is the last that manages teams and would not, or not for ever.
        """
        convert: dict[str, Callable[[Any], Any]] = {
            "scopes": scopes_column,
            "quota": quota_column,
            "expires_at": in_future,
            "name": str,
        }
        values = {name: convert[name](value) for name, value in changes.items()}
        if by is not None:
            check_grants(by, changes.get("scopes", ()))
        async with self._db.writing() as connection:
            before = await get_active_key(connection, key_id, by)
            loses = "scopes" in values and not set(MANAGING) <= set(values["scopes"].split())
            ends = values.get("expires_at") is not None and before.expires_at is None
            if loses or ends:
                await check_not_last_operator(connection, before)
            record = await change_key(connection, key_id, values) if values else before
        return self._changed("updated", record)

    async def rotate(
        self, key_id: str, grace_s: float = 0.0, *, by: KeyRecord | None = None
    ) -> tuple[KeyRecord, str]:
        """Give a key another secret. Returns both; the secret cannot be shown again.

        Args:
            key_id: Of the key.
            grace_s: Seconds for which the secret until now stays good, at most `GRACE_S`. One that
                was rotated away before ends at once.
            by: Whoever does it; None for the service itself.

        Raises:
            NotFound: There is no such key.
            NotAllowed: It has a scope that `by` has not.
            Conflict: It was revoked.
        """
        secret, digest = _new_secret()
        until = now_us() + int(min(max(grace_s, 0.0), GRACE_S) * 1e6)
        async with self._db.writing() as connection:
            await get_active_key(connection, key_id, by)
            values = {
                "previous_hash": keys.c.hash,
                "previous_until_at": until,
                "hash": digest,
                "hint": secret[-4:],
            }
            record = await change_key(connection, key_id, values)
        return self._changed("rotated", record), secret

    async def revoke(
        self,
        key_id: str,
        *,
        by: KeyRecord | None = None,
        also: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> KeyRecord:
        """End a key for good: at once in this process, within `CACHE_S` in others. Safe to repeat.

        Args:
            key_id: Of the key.
            by: Whoever does it; None for the service itself.
            also: What is done in the same transaction, also when the key was revoked before.

        Raises:
            NotFound: There is no such key.
            NotAllowed: It has a scope that `by` has not.
            Conflict: It is the last active key that manages teams.
        """
        async with self._db.writing() as connection:
            record = await get_managed_key(connection, key_id, by)
            if record.revoked_at is None:
                await check_not_last_operator(connection, record)
                record = await change_key(connection, key_id, {"revoked_at": now_us()})
            if also is not None:
                await also(connection)
        return self._changed("revoked", record)

    async def suspend(self, key_id: str, *, by: KeyRecord | None = None) -> KeyRecord:
        """Let a key do nothing until it is resumed. Its jobs go on: they are its team's.

        It shows as soon as a revocation does. Safe to repeat.

        Raises:
            NotFound: There is no such key.
            NotAllowed: It has a scope that `by` has not.
            Conflict: It was revoked, or is the last active key that manages teams.
        """
        async with self._db.writing() as connection:
            record = await get_active_key(connection, key_id, by)
            if record.suspended_at is None:
                await check_not_last_operator(connection, record)
                record = await change_key(connection, key_id, {"suspended_at": now_us()})
        return self._changed("suspended", record)

    async def resume(self, key_id: str, *, by: KeyRecord | None = None) -> KeyRecord:
        """Let a suspended key be used again. Safe to repeat.

        Raises:
            NotFound, NotAllowed: As of `suspend`.
            Conflict: It was revoked.
        """
        async with self._db.writing() as connection:
            await get_active_key(connection, key_id, by)
            record = await change_key(connection, key_id, {"suspended_at": None})
        return self._changed("resumed", record)

    async def has_operator(self) -> bool:
        """Return whether there is an active key that manages teams."""
        return bool(await self._db.read(active_operators))

    def forget(self) -> None:
        """Look each key up again: what is known of them, or of their teams, has changed."""
        self._generation += 1
        self._cache.clear()
        self.watch.look()

    def _changed(self, how: str, record: KeyRecord) -> KeyRecord:
        self.forget()
        _log.info("key %s", how, extra={"action": f"keys.{how}", "key_id": record.id})
        return record


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


def _new_secret() -> tuple[str, str]:
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, _digest(secret)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
