"""Teams as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from emberbox.errors import NotFound
from emberbox.ids import is_id
from emberbox.store.records import TeamRecord
from emberbox.store.tables import teams

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def get_team(connection: AsyncConnection, team_id: str) -> TeamRecord:
    """Return a team; raises `NotFound`."""
    if is_id(team_id, "team"):
        row = (await connection.execute(select(teams).where(teams.c.id == team_id))).mappings().one_or_none()
        if row is not None:
            return TeamRecord.from_row(row)
    raise NotFound("there is no such team")
