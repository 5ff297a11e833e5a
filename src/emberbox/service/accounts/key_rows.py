"""Keys as rows: how they are found, and the rule that one of them can always manage the others."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import RowMapping, or_, select, update

from emberbox.config import QuotaSettings
from emberbox.errors import Conflict, InvalidInput, NotFound
from emberbox.ids import is_id
from emberbox.store.database import now_us
from emberbox.store.records import KeyRecord
from emberbox.store.tables import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

IMPLIED = {
    "read": frozenset({"read"}),
    "run": frozenset({"run", "read"}),
    "admin": frozenset({"admin", "run", "read"}),
}
"""What each scope grants."""
_QUOTAS = frozenset(field.name for field in fields(QuotaSettings))


def scopes_column(scopes: Iterable[str]) -> str:
    """Return what the column holds of scopes. Raises `InvalidInput` for none, or an unknown one."""
    granted = set(scopes)
    if not granted or not granted <= set(IMPLIED):
        raise InvalidInput(f"scopes: must be one or more of {', '.join(IMPLIED)}")
    return " ".join(sorted(granted))


def quota_column(quota: Mapping[str, float]) -> dict[str, float]:
    """Return what the column holds of a quota. Raises `InvalidInput` for an unknown name."""
    if unknown := set(quota) - _QUOTAS:
        raise InvalidInput(f"quota: there is no {min(unknown)!r}; here are {', '.join(sorted(_QUOTAS))}")
    return dict(quota)


def in_future(expires_at: int | None) -> int | None:
    """Return a time. Raises `InvalidInput` if it has passed."""
    if expires_at is not None and expires_at <= now_us():
        raise InvalidInput("expires_at: must lie in the future; to end a key now, revoke it")
    return expires_at


def key_record(row: RowMapping) -> KeyRecord:
    """Return the key of a row."""
    granted = frozenset[str]().union(*(IMPLIED[scope] for scope in row["scopes"].split()))
    return KeyRecord.from_row({**row, "scopes": granted})


async def get_key(connection: AsyncConnection, key_id: str) -> KeyRecord:
    """Return a key; raises `NotFound`."""
    if is_id(key_id, "key"):
        row = (await connection.execute(select(keys).where(keys.c.id == key_id))).mappings().one_or_none()
        if row is not None:
            return key_record(row)
    raise NotFound("there is no such key")


async def get_active_key(connection: AsyncConnection, key_id: str) -> KeyRecord:
    """Return a key that was not revoked; raises `NotFound` or `Conflict`."""
    record = await get_key(connection, key_id)
    if record.revoked_at is not None:
        raise Conflict("the key was revoked, which cannot be undone; create another one")
    return record


async def change_key(connection: AsyncConnection, key_id: str, values: dict[str, Any]) -> KeyRecord:
    """Write columns of a key that is there; returns it as it is now."""
    change = update(keys).where(keys.c.id == key_id).values(values).returning(keys)
    return key_record((await connection.execute(change)).mappings().one())


async def check_not_last_admin(connection: AsyncConnection, record: KeyRecord) -> None:
    """Raise `Conflict` if there is no active admin key besides this one, which is one."""
    if await active_admins(connection) == [record.id]:
        raise Conflict(
            "this is the last active admin key; create another one first, or nobody could manage keys"
        )


async def active_admins(connection: AsyncConnection) -> list[str]:
    """Return the identifiers of all admin keys that work, and hold their rows until the transaction ends."""
    unexpired = or_(keys.c.expires_at.is_(None), keys.c.expires_at > now_us())
    query = select(keys.c.id).where(keys.c.revoked_at.is_(None), unexpired, keys.c.scopes.like("%admin%"))
    # Locked in one order, so that of the last two only one can be revoked when both are at once.
    return list((await connection.execute(query.order_by(keys.c.id).with_for_update())).scalars())
