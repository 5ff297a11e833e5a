"""Scripts as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete

from emberbox.service.accounts.holdings import Refund
from emberbox.store.tables import scripts

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class DeletedScripts:
    """How many were deleted, and contents that their teams hold no more, to be deleted after the commit."""

    count: int
    loose: list[str]


async def delete_scripts(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> DeletedScripts:
    """Delete scripts, within the caller's transaction, and give their bytes back. Their jobs stay."""
    gone = delete(scripts).where(*conditions).returning(*_CHARGED)
    found = (await connection.execute(gone)).all()
    refund = Refund()
    for row in found:
        refund.add(row, [row.content_sha])
    return DeletedScripts(len(found), await refund.write(connection))


_CHARGED = (scripts.c.team_id, scripts.c.key_id, scripts.c.content_sha)
