"""API keys: who may call the service, and what for.

A key is `ember_` and 43 characters that hold 256 random bits. The database holds its SHA-256 alone:
nobody can guess 256 random bits, however fast the hash, so a slow hash as for passwords would only
cost time at each request. A key is found by its hash in an index: how long that takes tells nothing
about the key, since the hash of a guess does not get nearer to the right one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, or_, select, update

from emberbox.errors import NotAuthenticated, StoreError
from emberbox.ids import new_id
from emberbox.service.accounts.key_rows import (
    COLUMNS,
    active_admins,
    check_not_last_admin,
    get_active_key,
    get_key,
    in_future,
    key_record,
    quota_column,
    scopes_column,
)
from emberbox.store.database import now_us
from emberbox.store.pages import read_page
from emberbox.store.tables import keys
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emberbox.store.database import Database
    from emberbox.store.records import KeyRecord

_log = logging.getLogger(__name__)

CACHE_S = 5.0
"""How long another process's change to a key may go unnoticed."""
CACHED_KEYS = 10_000
USED_S = 30.0
"""Interval at which times of last use are written."""
GRACE_S = 7 * 86_400.0
"""Longest time for which a rotated secret stays good."""

_PREFIX = "ember_"
_SECRET = re.compile(r"ember_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class _Known:
    record: KeyRecord
    good_until_us: int | None
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

    # -- asking -----------------------------------------------------------------------------------

    async def authenticate(self, secret: str) -> KeyRecord:
        """Return the key that a secret belongs to, and note its use.

        Raises:
            NotAuthenticated: No key has that secret, or it expired, was revoked or was rotated
                away. The message does not say which.
        """
        digest = _hash(secret)
        known = self._cache.get(digest) if digest is not None else None
        if digest is not None and (known is None or time.monotonic() - known.looked_up > self._cache_s):
            known = await self._look_up(digest)
        now = now_us()
        if known is None or known.record.revoked_at is not None or not _before(now, known.good_until_us):
            raise NotAuthenticated(
                "the API key is not known, has expired or was revoked; ask an administrator for another one"
            )
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
        known = _Known(key_record(row), good_until, time.monotonic())
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
            async with self._db.writing() as connection:
                await connection.execute(
                    statement, [{"key": key_id, "used": used[key_id]} for key_id in sorted(used)]
                )
        except StoreError:
            self._used = used | self._used
            raise

    async def get(self, key_id: str) -> KeyRecord:
        """Return a key; raises `NotFound`."""
        async with self._db.reading() as connection:
            return await get_key(connection, key_id)

    async def list(self, *, cursor: str | None = None, limit: int = 50) -> tuple[list[KeyRecord], str | None]:
        """Return a page of keys, newest first, and the cursor of the next page (None on the last one).

        Raises:
            InvalidInput: The cursor is none that was given out.
        """
        query = select(*COLUMNS)
        rows, following = await read_page(self._db, query, keys.c.id, cursor, limit, prefix="key")
        return [key_record(row) for row in rows], following

    # -- changing ---------------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        expires_at: int | None = None,
        quota: dict[str, float] | None = None,
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
            "scopes": scopes_column(scopes),
            "quota": quota_column(quota or {}),
            "created_at": now_us(),
            "expires_at": in_future(expires_at),
        }
        async with self._db.writing() as connection:
            await connection.execute(insert(keys).values(values))
            record = await get_key(connection, str(values["id"]))
        _log.info("key created", extra={"action": "keys.created", "key_id": record.id})
        return record, secret

    async def update(self, key_id: str, **changes: Any) -> KeyRecord:
        """Change `name`, `scopes`, `expires_at` or `quota`, each as `create` takes it; the others stay.

        Raises:
            NotFound: There is no such key.
            InvalidInput: As of `create`.
            Conflict: The key was revoked, or it is the last admin key and would be none, or not for ever.
        """
        convert: dict[str, Callable[[Any], Any]] = {
            "scopes": scopes_column,
            "quota": quota_column,
            "expires_at": in_future,
            "name": str,
        }
        values = {name: convert[name](value) for name, value in changes.items()}
        async with self._db.writing() as connection:
            before = await get_active_key(connection, key_id)
            loses = "scopes" in values and "admin" not in values["scopes"].split()
            ends = values.get("expires_at") is not None and before.expires_at is None
            if loses or ends:
                await check_not_last_admin(connection, before)
            if values:
                await connection.execute(update(keys).where(keys.c.id == key_id).values(values))
            record = await get_key(connection, key_id)
        self._forget()
        _log.info("key updated", extra={"action": "keys.updated", "key_id": key_id})
        return record

    async def rotate(self, key_id: str, grace_s: float = 0.0) -> tuple[KeyRecord, str]:
        """Give a key another secret. Returns both; the secret cannot be shown again.

        Args:
            key_id: Of the key.
            grace_s: Seconds for which the secret until now stays good, at most `GRACE_S`. One that
                was rotated away before ends at once.

        Raises:
            NotFound: There is no such key.
            Conflict: It was revoked.
        """
        secret, digest = _new_secret()
        until = now_us() + int(min(max(grace_s, 0.0), GRACE_S) * 1e6)
        async with self._db.writing() as connection:
            await get_active_key(connection, key_id)
            values = {
                "previous_hash": keys.c.hash,
                "previous_until_at": until,
                "hash": digest,
                "hint": secret[-4:],
            }
            await connection.execute(update(keys).where(keys.c.id == key_id).values(values))
            record = await get_key(connection, key_id)
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
            before = await get_key(connection, key_id)
            if before.revoked_at is None:
                await check_not_last_admin(connection, before)
                await connection.execute(update(keys).where(keys.c.id == key_id).values(revoked_at=now_us()))
            record = await get_key(connection, key_id)
        self._forget()
        _log.info("key revoked", extra={"action": "keys.revoked", "key_id": key_id})
        return record

    async def has_admin(self) -> bool:
        """Return whether there is an active admin key."""
        async with self._db.reading() as connection:
            return bool(await active_admins(connection))

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
