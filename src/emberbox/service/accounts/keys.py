"""API keys: made, changed, rotated, suspended and revoked."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from emberbox.bounds import GRACE_S
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
from emberbox.service.accounts.known_keys import KnownKeys, digest_of
from emberbox.service.accounts.team_rows import get_team
from emberbox.service.ownership import team_of_list
from emberbox.store.database import now_us
from emberbox.store.tables import FIRST_TEAM, keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store.records import KeyRecord

_log = logging.getLogger(__name__)

_PREFIX = "ember_"


class Keys(KnownKeys):
    """The keys of a database, for those who manage them as well.

    A change shows at once in this process, and in others as `CACHE_S` says.
    """

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
            grace_s: Seconds for which the secret until now stays good, at most `bounds.GRACE_S`. One that
                was rotated away before ends at once.
            by: Whoever does it; None for the service itself.

        Raises:
            NotFound: There is no such key.
            NotAllowed: It has a scope that `by` has not.
            Conflict: It was revoked.
        """
        secret, digest = _new_secret()
        until = now_us() + int(min(max(grace_s, GRACE_S.least), GRACE_S.most) * 1e6)
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

    def _changed(self, how: str, record: KeyRecord) -> KeyRecord:
        self.forget()
        _log.info("key %s", how, extra={"action": f"keys.{how}", "key_id": record.id})
        return record


def _new_secret() -> tuple[str, str]:
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, digest_of(secret)
