"""What jobs come to when something else fails, or happens at an unlucky moment."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import CapacityExhausted, StoreError
from emberbox.jobs import worker as worker_module
from emberbox.jobs.finish import Finished, Outcome, finish
from emberbox.jobs.logs import AttemptBegan, JobEnded, LogRecord
from tests.integration.jobs.conftest import Caller

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.jobs.service import Service
    from emberbox.store import Database
    from emberbox.store.records import JobRecord


@pytest.mark.timeout(60)
async def test_a_reader_who_lingers_between_attempts_sees_all_of_the_last(service: Service, caller: Caller) -> None:
    job = await caller.submit("seq 30000; exit 1", retries=1)
    data, attempts = b"", []
    async for item in service.logs.follow(job.id):
        if isinstance(item, AttemptBegan):
            attempts.append(item.attempt)
            await caller.ended(job.id)
            data = b""
        elif isinstance(item, LogRecord):
            data += item.data
        else:
            assert isinstance(item, JobEnded)
    assert attempts == [2]
    assert data == b"".join(b"%d\n" % number for number in range(1, 30_001))


async def test_a_busy_host_costs_a_job_nothing(service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = service.engine.open_sandbox, iter([CapacityExhausted("all machines are in use")] * 3)
    service.worker._settings = replace(service.worker._settings, losses=1)

    async def sometimes(*arguments: object, **options: object) -> object:
        for failure in failures:
            raise failure
        return await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(service.engine, "open_sandbox", sometimes)
    job = await caller.run("echo in the end")
    assert (job.status, job.attempt, job.losses, job.failures) == ("succeeded", 4, 0, 0)


async def test_a_mistake_in_taking_jobs_does_not_end_the_worker(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = service.queue.claim, iter([RuntimeError("a mistake")])

    async def sometimes(worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        for failure in failures:
            raise failure
        return await real(worker_id, count, lease_s)

    monkeypatch.setattr(service.queue, "claim", sometimes)
    assert (await caller.run("true")).status == "succeeded"


async def test_repeated_attempts_leave_no_blobs(service: Service, caller: Caller) -> None:
    job = await caller.run("seq 30000; echo kept >kept; exit 1", artifacts=["kept"], retries=1)
    assert (job.status, job.attempt) == ("failed", 2)
    (artifact,) = await service.artifacts.list(job.id)
    assert [info.key async for info in service.blobs.list("artifacts")] == [artifact.blob_key]
    assert [info.key async for info in service.blobs.list("logs")] == [f"logs/{job.id}/2"]


async def test_jobs_of_a_key_at_its_bound_follow_each_other_at_once(service: Service) -> None:
    key, _ = await service.keys.create("one at a time", ["run"], quota={"concurrent_jobs": 1})
    caller = Caller(service, key)
    ended = [await caller.ended(job.id) for job in [await caller.submit("true") for _ in range(5)]]
    pauses = [(later.claimed_at or 0) - (job.finished_at or 0) for job, later in itertools.pairwise(ended)]
    assert sorted(pauses)[2] < 500_000, pauses


async def test_jobs_that_are_claimed_while_the_worker_stops_are_handed_back(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, claimed = service.queue.claim, asyncio.Event()

    async def slowly(worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        jobs = await real(worker_id, count, lease_s)
        if jobs:
            claimed.set()
            await asyncio.sleep(0.3)
        return jobs

    monkeypatch.setattr(service.queue, "claim", slowly)
    job = await caller.submit("sleep 60")
    await claimed.wait()
    await service.worker.stop(0.0)
    assert service.worker.running == 0
    now = await service.jobs.get(caller.key, job.id)
    assert (now.status, now.losses) == ("queued", 0)


class TestShortLeases:
    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        return replace(service_settings, worker=replace(service_settings.worker, lease_s=1.0, heartbeat_s=0.2))

    async def test_an_end_that_cannot_be_written_in_time_is_not_the_last_word(
        self, service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def not_at_first(db: Database, job: JobRecord, outcome: Outcome) -> Finished | None:
            if job.attempt == 1:
                raise StoreError("the database failed; try again")
            return await finish(db, job, outcome)

        monkeypatch.setattr(worker_module, "finish", not_at_first)
        job = await caller.submit("true")
        now = await service.jobs.wait(job.id, 15)
        assert (now.status, now.attempt, now.losses) == ("succeeded", 2, 1)
