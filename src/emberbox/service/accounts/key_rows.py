"""Keys as rows: how they are found, and the rule that one of them can always manage the others."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import RowMapping, and_, or_, select, update

from emberbox.config import QuotaSettings
from emberbox.errors import Conflict, InvalidInput, NotAllowed, NotFound
from emberbox.ids import is_id
from emberbox.service.ownership import reaches
from emberbox.store.database import now_us
from emberbox.store.records import KeyRecord
from emberbox.store.tables import keys, teams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

IMPLIED = {
    "read": frozenset({"read"}),
    "run": frozenset({"run", "read"}),
    "admin": frozenset({"admin", "run", "read"}),
    "operator": frozenset({"operator", "read"}),
}
"""What each scope grants."""
MANAGING = ("admin", "operator")
"""The scopes of a key that manages teams and all keys, as they are sorted in the column."""
KEYS = select(keys, teams.c.quota.label("team_quota")).join(teams, teams.c.id == keys.c.team_id)
"""Keys with what their records tell of their teams."""
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


def check_grants(by: KeyRecord, scopes: Iterable[str]) -> None:
    """Check that no scope goes beyond those of `by`. Raises `NotAllowed`."""
    if beyond := sorted(set(scopes) - by.scopes):
        raise NotAllowed(
            f"only a key that has the scope {beyond[0]!r} itself may give it, or manage keys that have it"
        )


def key_record(row: RowMapping) -> KeyRecord:
    """Return the key of a row of `KEYS`."""
    granted = frozenset[str]().union(*(IMPLIED[scope] for scope in row["scopes"].split()))
    return KeyRecord.from_row({**row, "scopes": granted})


async def get_key(connection: AsyncConnection, key_id: str, by: KeyRecord | None = None) -> KeyRecord:
    """Return a key that `by` may look at; raises `NotFound`.

    Args:
        connection: Any.
        key_id: Of the key.
        by: Whoever asks; None for the service itself.
    """
    if is_id(key_id, "key"):
        row = (await connection.execute(KEYS.where(keys.c.id == key_id))).mappings().one_or_none()
        if row is not None and (by is None or reaches(by, key_record(row))):
            return key_record(row)
    raise NotFound("there is no such key")


async def get_managed_key(connection: AsyncConnection, key_id: str, by: KeyRecord | None = None) -> KeyRecord:
    """Return a key that `by` may change, as `get_key` does.

    Raises:
        NotFound: There is none, or `by` does not reach it.
        NotAllowed: It may do more than `by`, whose holder could so become its holder.
    """
    record = await get_key(connection, key_id, by)
    if by is not None:
        check_grants(by, record.scopes)
    return record


async def get_active_key(connection: AsyncConnection, key_id: str, by: KeyRecord | None = None) -> KeyRecord:
    """Return a key that was not revoked, as `get_managed_key` does; raises `Conflict` as well."""
    record = await get_managed_key(connection, key_id, by)
    if record.revoked_at is not None:
        raise Conflict("the key was revoked, which cannot be undone; create another one")
    return record


async def change_key(connection: AsyncConnection, key_id: str, values: dict[str, Any]) -> KeyRecord:
    """Write columns of a key that is there; returns it as it is now."""
    await connection.execute(update(keys).where(keys.c.id == key_id).values(values))
    return await get_key(connection, key_id)


async def check_not_last_operator(connection: AsyncConnection, record: KeyRecord) -> None:
    """Raise `Conflict` if no other active key manages teams, and this one does."""
    if await active_operators(connection) == [record.id]:
        raise Conflict(
            "this is the last active key with the scopes admin and operator; create another one first, "
            "or nobody could manage teams and their keys"
        )


async def active_operators(connection: AsyncConnection) -> list[str]:
    """Return the ids of all keys that work and manage teams.

    Their rows are held until the transaction ends.
    """
    unexpired = or_(keys.c.expires_at.is_(None), keys.c.expires_at > now_us())
    working = and_(keys.c.revoked_at.is_(None), keys.c.suspended_at.is_(None), unexpired)
    managing = keys.c.scopes.like(f"%{MANAGING[0]}%{MANAGING[1]}%")
    query = select(keys.c.id).where(working, managing)
    # Locked in one order, so that of the last two only one can be revoked when both are at once.
    return list((await connection.execute(query.order_by(keys.c.id).with_for_update())).scalars())
