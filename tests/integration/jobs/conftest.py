"""Helpers for tests of jobs, from their acceptance to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from emberbox.jobs.orders import order_for_code
from emberbox.schemas.jobs import SubmitJob

if TYPE_CHECKING:
    from emberbox.jobs.service import Service
    from emberbox.store.records import JobRecord, KeyRecord

END_S = 60.0


class Caller:
    """A key that submits jobs."""

    def __init__(self, service: Service, key: KeyRecord) -> None:
        self.service = service
        self.key = key

    async def submit(self, code: str, *, idempotency: tuple[str, str] | None = None, **options: Any) -> JobRecord:
        order = await order_for_code(self.service, self.key, SubmitJob(**{"runtime": "bash", "code": code, **options}))
        job, _ = await self.service.jobs.submit(self.key, order, idempotency=idempotency)
        return job

    async def run(self, code: str, **options: Any) -> JobRecord:
        job = await self.submit(code, **options)
        return await self.ended(job.id)

    async def ended(self, job_id: str) -> JobRecord:
        job = await self.service.jobs.wait(job_id, END_S)
        assert job.terminal, f"{job.status} after {END_S:g} s"
        return job

    async def stdout(self, job: JobRecord) -> str:
        return (await self.service.jobs.output(job)).stdout.decode()

    async def running(self, job_id: str) -> None:
        """Wait until the program has begun."""
        live = await self.service.live.wait_for(job_id, END_S)
        assert live is not None
        await live._running()


@pytest.fixture
async def caller(service: Service) -> Caller:
    key, _ = await service.keys.create("caller", ["run"])
    return Caller(service, key)


@pytest.fixture
async def other(service: Service) -> Caller:
    key, _ = await service.keys.create("other", ["run"])
    return Caller(service, key)
