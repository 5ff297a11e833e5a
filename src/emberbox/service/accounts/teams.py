"""Teams: to whom everything belongs. The operator makes them and says what each may use."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from emberbox.errors import Conflict, InvalidInput
from emberbox.ids import new_id
from emberbox.service.accounts.key_rows import quota_column
from emberbox.service.accounts.team_rows import get_team
from emberbox.store.database import Database, now_us
from emberbox.store.records import TeamRecord
from emberbox.store.tables import teams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Teams:
    """The teams of a database. There is always one, the first.

    Args:
        db: Holds them.
        changed: Called when a team's quota has changed.
    """

    def __init__(self, db: Database, changed: Callable[[], None]) -> None:
        self._db = db
        self._changed = changed

    async def get(self, team_id: str) -> TeamRecord:
        """Return a team; raises `NotFound`."""
        return await self._db.read(lambda connection: get_team(connection, team_id))

    async def list(
        self, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[TeamRecord], str | None]:
        """Return a page of teams, newest first, and the cursor of the next page (None on the last one).

        Raises:
            InvalidInput: The cursor is none that was given out.
        """
        return await self._db.page(
            select(teams), teams.c.id, TeamRecord.from_row, cursor, limit, prefix="team"
        )

    async def create(self, name: str, *, quota: Mapping[str, float] | None = None) -> TeamRecord:
        """Make a team, which has no keys yet.

        Args:
            name: As `update` takes it.
            quota: What differs from the settings, by the names of `QuotaSettings`.

        Raises:
            InvalidInput: The name cannot be one, or a quota is unknown.
            Conflict: Another team has the name.
        """
        record = TeamRecord(
            id=new_id("team"), name=_checked(name), quota=quota_column(quota or {}), created_at=now_us()
        )

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(insert(teams).values(record.to_row()))

        await self._write(write, name)
        _log.info("team created", extra={"action": "teams.created", "team_id": record.id})
        return record

    async def update(
        self, team_id: str, *, name: str | None = None, quota: Mapping[str, float] | None = None
    ) -> TeamRecord:
        """Change a team; None leaves what it stands for. Holds at once here, soon in other processes.

        Args:
            team_id: Of the team.
            name: 1 to 63 lower-case letters, digits and hyphens, as a part of a host's name; its own.
            quota: Replaces the whole quota.

        Raises:
            NotFound: There is no such team.
            InvalidInput, Conflict: As of `create`.
        """
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = _checked(name)
        if quota is not None:
            values["quota"] = quota_column(quota)

        async def write(connection: AsyncConnection) -> TeamRecord:
            if values:
                await connection.execute(update(teams).where(teams.c.id == team_id).values(values))
            return await get_team(connection, team_id)

        record: TeamRecord = await self._write(write, name)
        self._changed()
        _log.info("team updated", extra={"action": "teams.updated", "team_id": record.id})
        return record

    async def _write(self, write: Callable[[AsyncConnection], Awaitable[Any]], name: str | None) -> Any:
        try:
            return await self._db.write(write)
        except IntegrityError as error:
            raise Conflict(f"there is a team {name!r} already; choose another name") from error


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            "name: must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end"
        )
    return name
