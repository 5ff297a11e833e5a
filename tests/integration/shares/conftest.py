"""What the service holds, as its tables, its blob store and its folders say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, union

from emberbox.service.jobs.rows import log_bytes
from emberbox.service.uploads.intake import UPLOADS
from emberbox.store.tables import artifacts, contents, held_contents, holdings, jobs, results, scripts

if TYPE_CHECKING:
    from sqlalchemy import Table

    from emberbox.service.service import Service
    from emberbox.store.records import KeyRecord


@dataclass(frozen=True)
class Stored:
    """Everything that is stored, counted from the things themselves."""

    service: Service

    async def nothing(self) -> bool:
        """Whether there is no script, job, content, blob or scratch file at all."""
        rows = (await self.counts()).values()
        blobs = [info.key async for info in self.service.blobs.list()]
        uploads = self.service.settings.data / UPLOADS
        left = list(uploads.iterdir()) if uploads.exists() else []
        return not any(rows) and not blobs and not left

    async def counts(self) -> dict[str, int]:
        """How many rows there are of each thing that is charged."""
        tables = (scripts, jobs, contents, held_contents, artifacts)
        return {table.name: await self._count(table) for table in tables}

    async def charged(self, owner_id: str) -> int:
        """What a team or a key is charged with."""
        db = self.service.db
        return int(await db.scalar(select(holdings.c.bytes).where(holdings.c.owner_id == owner_id)) or 0)

    async def counted(self, key: KeyRecord) -> int:
        """The same of a key's team, added up anew from all that belongs to it."""
        db, mine = self.service.db, jobs.c.team_id == key.team_id
        own = scripts.c.team_id == key.team_id
        referred = union(
            *(
                select(column).where(mine)
                for column in (jobs.c.content_sha, jobs.c.files_sha, jobs.c.stdin_sha)
            ),
            select(scripts.c.content_sha).where(own),
        )
        sizes = select(func.sum(contents.c.size)).where(contents.c.sha256.in_(referred))
        kept = select(func.sum(artifacts.c.size)).join(jobs, jobs.c.id == artifacts.c.job_id).where(mine)
        logs = select(func.sum(log_bytes())).join(jobs, jobs.c.id == results.c.job_id).where(mine)
        return sum([int(await db.scalar(query) or 0) for query in (sizes, kept, logs)])

    async def rows_of(self, key: KeyRecord) -> int:
        """What is charged of a key's team besides what `counted` adds up: the rows of its jobs."""
        return await self.charged(key.team_id) - await self.counted(key)

    async def _count(self, table: Table) -> int:
        return int(await self.service.db.scalar(select(func.count()).select_from(table)))


@pytest.fixture
def stored(service: Service) -> Stored:
    return Stored(service)
