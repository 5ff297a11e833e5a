"""API keys: who may call the service, and what for.

A key is `ember_` and 43 characters that hold 256 random bits. The database holds its SHA-256 alone: nobody can guess 256 random
bits, however fast the hash, so a slow hash as for passwords would only cost time at each request. A key is found by its hash in
an index: how long that takes tells nothing about the key, since the hash of a guess does not get nearer to the right one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, or_, select, update

from emberbox.config import QuotaSettings
from emberbox.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, StoreError
from emberbox.ids import is_id, new_id
from emberbox.store.database import now_us
from emberbox.store.records import KeyRecord
from emberbox.store.tables import keys
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store.database import Database

_log = logging.getLogger(__name__)

IMPLIED = {"read": frozenset({"read"}), "run": frozenset({"run", "read"}), "admin": frozenset({"admin", "run", "read"})}
"""What each scope grants."""
CACHE_S = 5.0
"""How long another process's change to a key may go unnoticed."""
CACHED_KEYS = 10_000
USED_S = 30.0
"""Interval at which times of last use are written."""
GRACE_S = 7 * 86_400.0
"""Longest time for which a rotated secret stays good."""

_PREFIX = "ember_"
_SECRET = re.compile(r"ember_[A-Za-z0-9_-]{43}")
_QUOTAS = frozenset(field.name for field in fields(QuotaSettings))
_COLUMNS = [column for column in keys.c if column.name not in ("hash", "previous_hash", "previous_until_at")]


@dataclass(frozen=True, slots=True)
class _Known:
    record: KeyRecord
    good_until_us: int | None
    looked_up: float


class Keys:
    """The keys of a database.

    Args:
        db: Holds them.
        cache_s: How long a key that was looked up is trusted without another look, in seconds. Changes made through this
            object show at once.
    """

    def __init__(self, db: Database, *, cache_s: float = CACHE_S) -> None:
        self._db = db
        self._cache_s = cache_s
        self._cache: dict[str, _Known] = {}
        self._generation = 0
        self._used: dict[str, int] = {}
        self._written = time.monotonic()
        self._keeper = TaskKeeper()

    # -- asking ----------------------------------------------------------------------------------------------

    async def authenticate(self, secret: str) -> KeyRecord:
        """Return the key that a secret belongs to, and note its use.

        Raises:
            NotAuthenticated: No key has that secret, or it expired, was revoked or was rotated away. The message does not
                say which.
        """
        digest = _hash(secret)
        known = self._cache.get(digest) if digest is not None else None
        if digest is not None and (known is None or time.monotonic() - known.looked_up > self._cache_s):
            known = await self._look_up(digest)
        now = now_us()
        if known is None or known.record.revoked_at is not None or not _before(now, known.good_until_us):
            raise NotAuthenticated("the API key is not known, has expired or was revoked; ask an administrator for another one")
        self._note_use(known.record.id, now)
        return known.record

    async def _look_up(self, digest: str) -> _Known | None:
        generation = self._generation
        found = or_(keys.c.hash == digest, keys.c.previous_hash == digest)
        async with self._db.reading() as connection:
            row = (await connection.execute(select(keys).where(found))).mappings().one_or_none()
        if row is None:
            self._cache.pop(digest, None)
            return None
        ends = [row["expires_at"], row["previous_until_at"] if row["hash"] != digest else None]
        if row["hash"] != digest and row["previous_until_at"] is None:
            return None
        good_until = min((end for end in ends if end is not None), default=None)
        known = _Known(_record(row), good_until, time.monotonic())
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
        """Write the times of last use that are not written yet, and wait for those being written. Safe to repeat."""
        self._written = time.monotonic()
        await self._keeper.settle()
        await self._write_uses()

    async def _write_uses(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        later = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < bindparam("used"))
        statement = update(keys).where(keys.c.id == bindparam("key"), later).values(last_used_at=bindparam("used"))
        try:
            async with self._db.writing() as connection:
                await connection.execute(statement, [{"key": key_id, "used": used[key_id]} for key_id in sorted(used)])
        except StoreError:
            self._used = used | self._used
            raise

    async def get(self, key_id: str) -> KeyRecord:
        """Return a key; raises `NotFound`."""
        async with self._db.reading() as connection:
            return await _get(connection, key_id)

    async def list(self, *, cursor: str | None = None, limit: int = 50) -> tuple[list[KeyRecord], str | None]:
        """Return a page of keys, newest first, and the cursor of the next page (None on the last one).

        Raises:
            InvalidInput: The cursor is none that was given out.
        """
        query = select(*_COLUMNS).order_by(keys.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            if not is_id(cursor, "key"):
                raise InvalidInput("cursor: not one that a list gave out; leave it out to begin anew")
            query = query.where(keys.c.id < cursor)
        async with self._db.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        records = [_record(row) for row in rows[:limit]]
        return records, records[-1].id if len(rows) > limit else None

    # -- changing --------------------------------------------------------------------------------------------

    async def create(
        self, name: str, scopes: Iterable[str], *, expires_at: int | None = None, quota: dict[str, float] | None = None
    ) -> tuple[KeyRecord, str]:
        """Make a key. Returns it with its secret, which cannot be shown again.

        Args:
            name: For people.
            scopes: Of `read`, `run`, `admin`; `admin` implies `run`, which implies `read`.
            expires_at: Microseconds since the epoch from which on it is refused; None for never.
            quota: What differs from the settings, by the names of `QuotaSettings`.

        Raises:
            InvalidInput: No scope, or an unknown one; an unknown quota; an expiry that has passed.
        """
        secret, digest = _new_secret()
        values = {
            "id": new_id("key"),
            "name": name,
            "hash": digest,
            "hint": secret[-4:],
            "scopes": _scopes(scopes),
            "quota": _quota(quota or {}),
            "created_at": now_us(),
            "expires_at": _in_future(expires_at),
        }
        async with self._db.writing() as connection:
            await connection.execute(insert(keys).values(values))
            record = await _get(connection, str(values["id"]))
        _log.info("key created", extra={"action": "keys.created", "key_id": record.id})
        return record, secret

    async def update(self, key_id: str, **changes: Any) -> KeyRecord:
        """Change `name`, `scopes`, `expires_at` or `quota`, each as `create` takes it; what is not named stays.

        Raises:
            NotFound: There is no such key.
            InvalidInput: As of `create`.
            Conflict: The key was revoked, or it is the last admin key and would be none, or not for ever.
        """
        convert: dict[str, Callable[[Any], Any]] = {"scopes": _scopes, "quota": _quota, "expires_at": _in_future, "name": str}
        values = {name: convert[name](value) for name, value in changes.items()}
        async with self._db.writing() as connection:
            before = await _get_active(connection, key_id)
            loses = "scopes" in values and "admin" not in values["scopes"].split()
            ends = values.get("expires_at") is not None and before.expires_at is None
            if loses or ends:
                await _check_not_last_admin(connection, before)
            if values:
                await connection.execute(update(keys).where(keys.c.id == key_id).values(values))
            record = await _get(connection, key_id)
        self._forget()
        _log.info("key updated", extra={"action": "keys.updated", "key_id": key_id})
        return record

    async def rotate(self, key_id: str, grace_s: float = 0.0) -> tuple[KeyRecord, str]:
        """Give a key another secret. Returns both; the secret cannot be shown again.

        Args:
            key_id: Of the key.
            grace_s: Seconds for which the secret until now stays good, at most `GRACE_S`. One that was rotated away before
                ends at once.

        Raises:
            NotFound: There is no such key.
            Conflict: It was revoked.
        """
        secret, digest = _new_secret()
        until = now_us() + int(min(max(grace_s, 0.0), GRACE_S) * 1e6)
        async with self._db.writing() as connection:
            await _get_active(connection, key_id)
            values = {"previous_hash": keys.c.hash, "previous_until_at": until, "hash": digest, "hint": secret[-4:]}
            await connection.execute(update(keys).where(keys.c.id == key_id).values(values))
            record = await _get(connection, key_id)
        self._forget()
        _log.info("key rotated", extra={"action": "keys.rotated", "key_id": key_id})
        return record, secret

    async def revoke(self, key_id: str) -> KeyRecord:
        """End a key for good: at once in this process, within `CACHE_S` in others. Repeating changes nothing.

        Raises:
            NotFound: There is no such key.
            Conflict: It is the last active admin key.
        """
        async with self._db.writing() as connection:
            before = await _get(connection, key_id)
            if before.revoked_at is None:
                await _check_not_last_admin(connection, before)
                await connection.execute(update(keys).where(keys.c.id == key_id).values(revoked_at=now_us()))
            record = await _get(connection, key_id)
        self._forget()
        _log.info("key revoked", extra={"action": "keys.revoked", "key_id": key_id})
        return record

    async def has_admin(self) -> bool:
        """Return whether there is an active admin key."""
        async with self._db.reading() as connection:
            return bool(await _admins(connection))

    def _forget(self) -> None:
        self._generation += 1
        self._cache.clear()


def _new_secret() -> tuple[str, str]:
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, hashlib.sha256(secret.encode()).hexdigest()


def _hash(secret: str) -> str | None:
    return hashlib.sha256(secret.encode()).hexdigest() if _SECRET.fullmatch(secret) else None


def _before(now: int, end: int | None) -> bool:
    return end is None or now < end


def _scopes(scopes: Iterable[str]) -> str:
    granted = set(scopes)
    if not granted or not granted <= set(IMPLIED):
        raise InvalidInput(f"scopes: must be one or more of {', '.join(IMPLIED)}")
    return " ".join(sorted(granted))


def _quota(quota: Mapping[str, float]) -> dict[str, float]:
    if unknown := set(quota) - _QUOTAS:
        raise InvalidInput(f"quota: there is no {min(unknown)!r}; here are {', '.join(sorted(_QUOTAS))}")
    return dict(quota)


def _in_future(expires_at: int | None) -> int | None:
    if expires_at is not None and expires_at <= now_us():
        raise InvalidInput("expires_at: must lie in the future; to end a key now, revoke it")
    return expires_at


def _record(row: RowMapping) -> KeyRecord:
    granted = frozenset[str]().union(*(IMPLIED[scope] for scope in row["scopes"].split()))
    values = {column.name: row[column.name] for column in _COLUMNS}
    return KeyRecord(**{**values, "scopes": granted})


async def _get(connection: AsyncConnection, key_id: str) -> KeyRecord:
    row = None
    if is_id(key_id, "key"):
        row = (await connection.execute(select(*_COLUMNS).where(keys.c.id == key_id))).mappings().one_or_none()
    if row is None:
        raise NotFound("there is no such key")
    return _record(row)


async def _get_active(connection: AsyncConnection, key_id: str) -> KeyRecord:
    record = await _get(connection, key_id)
    if record.revoked_at is not None:
        raise Conflict("the key was revoked, which cannot be undone; create another one")
    return record


async def _check_not_last_admin(connection: AsyncConnection, record: KeyRecord) -> None:
    if await _admins(connection) == [record.id]:
        raise Conflict("this is the last active admin key; create another one first, or nobody could manage keys")


async def _admins(connection: AsyncConnection) -> list[str]:
    unexpired = or_(keys.c.expires_at.is_(None), keys.c.expires_at > now_us())
    query = select(keys.c.id).where(keys.c.revoked_at.is_(None), unexpired, keys.c.scopes.like("%admin%"))
    # Locked in one order, so that of the last two only one can be revoked when both are at once.
    return list((await connection.execute(query.order_by(keys.c.id).with_for_update())).scalars())
