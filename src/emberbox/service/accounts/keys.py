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

from sqlalchemy import bindparam, insert, or_, select, update

from emberbox.bounds import GRACE_S
from emberbox.errors import NotAuthenticated, StoreError
from emberbox.ids import new_id
from emberbox.service.accounts.key_rows import (
    active_admins,
    change_key,
    check_not_last_admin,
    get_active_key,
    get_key,
    in_future,
    key_record,
    quota_column,
    scopes_column,
)
from emberbox.store.database import Database, now_us
from emberbox.store.tables import keys
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emberbox.store.records import KeyRecord

_log = logging.getLogger(__name__)

CACHE_S = 5.0
"""How long another process's change to a key may go unnoticed."""
CACHED_KEYS = 10_000
USED_S = 30.0
"""Interval at which times of last use are written."""

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

    # -- asking -----------------------------------------------------------------------------------

    async def authenticate(self, secret: str) -> KeyRecord:
        """Return the key that a secret belongs to, and note its use.

        Raises:
            NotAuthenticated: No key has that secret, or it expired, was revoked or was rotated
                away. The message does not say which.
        """
        known = await self._known(_digest(secret)) if _SECRET.fullmatch(secret) else None
        now = now_us()
        if known is None or known.record.revoked_at is not None or now >= known.good_until_us:
            raise NotAuthenticated(
                "the API key is not known, has expired or was revoked; ask an administrator for another one"
            )
        self._note_use(known.record.id, now)
        return known.record

    async def _known(self, digest: str) -> _Known | None:
        known = self._cache.get(digest)
        if known is not None and time.monotonic() - known.looked_up <= self._cache_s:
            return known
        generation = self._generation
        found = or_(keys.c.hash == digest, keys.c.previous_hash == digest)
        row = await self._db.row(select(keys).where(found))
        if row is None:
            self._cache.pop(digest, None)
            return None
        good_until = math.inf if row["expires_at"] is None else row["expires_at"]
        if row["hash"] != digest:
            good_until = min(good_until, row["previous_until_at"] or 0)
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
            await self._db.change(
                statement, [{"key": key_id, "used": used[key_id]} for key_id in sorted(used)]
            )
        except StoreError:
            self._used = used | self._used
            raise

    async def get(self, key_id: str) -> KeyRecord:
        """Return a key; raises `NotFound`."""
        return await self._db.read(lambda connection: get_key(connection, key_id))

    async def list(self, *, cursor: str | None = None, limit: int = 50) -> tuple[list[KeyRecord], str | None]:
        """Return a page of keys, newest first, and the cursor of the next page (None on the last one).

        Raises:
            InvalidInput: The cursor is none that was given out.
        """
        return await self._db.page(select(keys), keys.c.id, key_record, cursor, limit, prefix="key")

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
            created = await connection.execute(insert(keys).values(values).returning(keys))
            record = key_record(created.mappings().one())
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
            record = await change_key(connection, key_id, values) if values else before
        return self._changed("updated", record)

    async def rotate(self, key_id: str, grace_s: float = 0.0) -> tuple[KeyRecord, str]:
        """Give a key another secret. Returns both; the secret cannot be shown again.

        Args:
            key_id: Of the key.
            grace_s: Seconds for which the secret until now stays good, at most `bounds.GRACE_S`. One that
                was rotated away before ends at once.

        Raises:
            NotFound: There is no such key.
            Conflict: It was revoked.
        """
        secret, digest = _new_secret()
        until = now_us() + int(min(max(grace_s, GRACE_S.least), GRACE_S.most) * 1e6)
        async with self._db.writing() as connection:
            await get_active_key(connection, key_id)
            values = {
                "previous_hash": keys.c.hash,
                "previous_until_at": until,
                "hash": digest,
                "hint": secret[-4:],
            }
            record = await change_key(connection, key_id, values)
        return self._changed("rotated", record), secret

    async def revoke(self, key_id: str) -> KeyRecord:
        """End a key for good: at once in this process, within `CACHE_S` in others. Repeating changes nothing.

        Raises:
            NotFound: There is no such key.
            Conflict: It is the last active admin key.
        """
        async with self._db.writing() as connection:
            record = await get_key(connection, key_id)
            if record.revoked_at is None:
                await check_not_last_admin(connection, record)
                record = await change_key(connection, key_id, {"revoked_at": now_us()})
        return self._changed("revoked", record)

    async def has_admin(self) -> bool:
        """Return whether there is an active admin key."""
        return bool(await self._db.read(active_admins))

    def _changed(self, how: str, record: KeyRecord) -> KeyRecord:
        self._generation += 1
        self._cache.clear()
        _log.info("key %s", how, extra={"action": f"keys.{how}", "key_id": record.id})
        return record


def _new_secret() -> tuple[str, str]:
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, _digest(secret)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
