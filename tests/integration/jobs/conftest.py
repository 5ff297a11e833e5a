"""Helpers for tests of jobs, from their acceptance to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from emberbox.schemas.jobs import SubmitJob
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox.service.service import Service
    from emberbox.store.records import JobRecord, KeyRecord


class Caller:
    """A key that submits jobs."""

    def __init__(self, service: Service, key: KeyRecord) -> None:
        self.service = service
        self.key = key

    async def submit(
        self, code: str, *, idempotency: tuple[str, str] | None = None, **options: Any
    ) -> JobRecord:
        order = await self.service.orders.for_code(SubmitJob(**{"runtime": "bash", "code": code, **options}))
        job, _ = await self.service.submission.submit(self.key, order, idempotency=idempotency)
        return job

    async def run(self, code: str, **options: Any) -> JobRecord:
        job = await self.submit(code, **options)
        return await self.ended(job.id)

    async def ended(self, job_id: str) -> JobRecord:
        job = await self.service.waits.wait(job_id, PATIENCE_S)
        assert job.terminal, f"{job.status} after {PATIENCE_S:g} s"
        return job

    async def stdout(self, job: JobRecord) -> str:
        return (await self.service.jobs.output(job)).stdout.decode()

    async def running(self, job_id: str) -> None:
        """Wait until the program has begun."""
        live = await self.service.live.wait_for(job_id, PATIENCE_S)
        assert live is not None
        await live._running()


@pytest.fixture
async def caller(service: Service) -> Caller:
    key, _ = await service.keys.create("caller", ["run"])
    return Caller(service, key)


@pytest.fixture
async def other(service: Service) -> Caller:
    team = await service.teams.create("other")
    key, _ = await service.keys.create("other", ["run"], team_id=team.id)
    return Caller(service, key)
