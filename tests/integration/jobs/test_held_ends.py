"""What became of a job and cannot be written down: it is kept, tried again, and told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import BlobError, EmberboxError, NoSpace, NotReady, StoreError
from emberbox.net.backoff import Backoff
from emberbox.service.jobs.running import attempts as attempts_module
from emberbox.service.jobs.running import held as held_module
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.service.service import Service
    from emberbox.store.records import JobRecord
    from tests.integration.jobs.conftest import Caller

AT_ONCE = Backoff(first_s=0.01, longest_s=0.01)
FULL = NoSpace("the database's disk is full; free some space")
LONG = "seq 30000"
"""Writes a log that goes to the blob store."""


class Outage:
    """Has a method fail until it is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception) -> None:
        self._real, self._error = getattr(owner, name), error
        self.over = False
        self.refused = 0
        monkeypatch.setattr(owner, name, self._sometimes)

    async def _sometimes(self, *arguments: Any, **options: Any) -> Any:
        if self.over:
            return await self._real(*arguments, **options)
        self.refused += 1
        raise self._error


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "RETRY", AT_ONCE)
    monkeypatch.setattr(attempts_module, "INTERRUPTED", AT_ONCE)


@pytest.fixture
def service_settings(service_settings: Settings) -> Settings:
    """Leases that end soon, were they not renewed."""
    return replace(service_settings, worker=replace(service_settings.worker, heartbeat_s=0.1))


@pytest.mark.parametrize("error", [FULL, StoreError("the database could not be reached; try again")])
async def test_an_end_is_kept_until_it_can_be_written(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch, error: EmberboxError
) -> None:
    outage = Outage(monkeypatch, service.endings, "_finish", error)
    job = await caller.submit("echo kept")
    await until(lambda: outage.refused > 3)
    shown = await service.jobs.get(caller.key, job.id)
    assert shown.status == "running"
    assert str(shown.message).startswith("this attempt has ended, and waits to be written down: the ")
    (listed,), _ = await service.jobs.list(caller.key)
    assert listed.message == shown.message
    with pytest.raises(NotReady) as told:
        await service.node.check_ready()
    assert str(told.value.detail).startswith("ends: jobs that have ended wait to be written down (1): the ")
    assert service.telemetry.registry.get_sample_value("emberbox_ends_held") == 1
    outage.over = True
    ended = await caller.ended(job.id)
    assert (ended.status, ended.attempt, ended.interruptions, ended.message) == ("succeeded", 1, 0, None)
    assert await caller.stdout(ended) == "kept\n"
    await until(lambda: len(service.held) == 0)
    monkeypatch.setattr("emberbox.service.status.node.FRESH_S", -1.0)
    assert (await service.node.check_ready())["ends"] == "ok"


async def test_a_lease_is_kept_while_its_end_waits(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch, service.endings, "_finish", FULL)
    job = await caller.submit("true")
    await until(lambda: outage.refused > 0)
    lease = (await service.jobs.get(caller.key, job.id)).lease_until_at or 0

    async def renewed() -> bool:
        return ((await service.jobs.get(caller.key, job.id)).lease_until_at or 0) > lease

    async with asyncio.timeout(PATIENCE_S):
        while not await renewed():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    outage.over = True
    assert (await caller.ended(job.id)).attempt == 1


@pytest.mark.parametrize("error", [NoSpace("the disk is full"), BlobError("the blob store is away")])
async def test_a_log_that_cannot_be_stored_is_kept_and_its_program_is_not_run_again(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch, error: EmberboxError
) -> None:
    outage = Outage(monkeypatch, service.blobs, "put", error)
    job = await caller.submit(LONG)
    await until(lambda: outage.refused > 3)
    assert "waits to be written down" in str((await service.jobs.get(caller.key, job.id)).message)
    await until(lambda: service.engine.machines == 0)  # a VM is not held meanwhile
    outage.over = True
    ended = await caller.ended(job.id)
    assert (ended.status, ended.attempt, ended.interruptions) == ("succeeded", 1, 0)
    data = b"".join([piece async for piece in service.logs.raw(ended)])
    assert data == b"".join(b"%d\n" % number for number in range(1, 30_001))


async def test_a_hand_back_is_kept_as_well(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch, service.queue, "give_back", FULL)
    job = await caller.submit("exit 3", retries=1)
    await until(lambda: outage.refused > 3)
    assert len(service.held) == 1
    outage.over = True
    ended = await caller.ended(job.id)
    assert (ended.status, ended.attempt, ended.failures, ended.interruptions) == ("failed", 2, 1, 0)


async def test_nothing_further_is_begun_while_an_end_waits(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch, service.endings, "_finish", FULL)
    first = await caller.submit("true")
    await until(lambda: outage.refused > 0)
    claims = 0
    real = service.queue.claim

    async def counted(*arguments: Any) -> list[JobRecord]:
        nonlocal claims
        claims += 1
        return await real(*arguments)

    monkeypatch.setattr(service.queue, "claim", counted)
    beats = outage.refused
    waiting = await caller.submit("true")
    await until(lambda: outage.refused > beats + 30)
    # A claim may have been under way when the end began to wait.
    assert claims <= 1
    outage.over = True
    assert {(await caller.ended(job.id)).status for job in (first, waiting)} == {"succeeded"}


async def test_a_write_that_came_through_unheard_is_the_jobs_end(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, unheard = service.endings._finish, iter([StoreError("the connection was lost")])

    async def finish(*arguments: Any) -> Any:
        done = await real(*arguments)
        for error in unheard:
            raise error
        return done

    monkeypatch.setattr(service.endings, "_finish", finish)
    job = await caller.run("echo once")
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert [attempt.outcome for attempt in await service.jobs.attempts(job.id)] == ["succeeded"]
    labels = {"runtime": "bash", "status": "succeeded"}
    await until(
        lambda: service.telemetry.registry.get_sample_value("emberbox_jobs_finished_total", labels) == 1
    )


async def test_what_waits_when_the_service_ends_is_run_again(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch, service.endings, "_finish", FULL)
    job = await caller.submit("true")
    await until(lambda: outage.refused > 0)
    async with asyncio.timeout(PATIENCE_S):
        await service.worker.stop(0.0)
    now = await service.jobs.get(caller.key, job.id)
    assert (now.status, now.losses, now.interruptions) == ("queued", 0, 1)
    (attempt,) = await service.jobs.attempts(job.id)
    assert str(attempt.message).startswith("its end was not written: ")


class TestShortHold:
    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        return replace(service_settings, worker=replace(service_settings.worker, hold_s=0.5))

    async def test_an_end_that_cannot_be_written_in_time_is_not_the_last_word(
        self, service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = service.endings._finish

        async def not_at_first(job: JobRecord, outcome: Any) -> Any:
            if job.attempt == 1:
                raise StoreError("the database failed; try again")
            return await real(job, outcome)

        monkeypatch.setattr(service.endings, "_finish", not_at_first)
        job = await caller.run("true")
        assert (job.status, job.attempt, job.losses, job.interruptions) == ("succeeded", 2, 0, 1)

    async def test_a_log_that_cannot_be_stored_in_time_has_its_program_run_again(
        self, service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, refused = service.blobs.put, []

        async def not_at_first(key: str, source: Path) -> None:
            if key.endswith("/1"):
                refused.append(key)
                raise BlobError("the blob store is away")
            await real(key, source)

        monkeypatch.setattr(service.blobs, "put", not_at_first)
        job = await caller.run(LONG)
        assert (job.status, job.attempt, job.losses, job.interruptions) == ("succeeded", 2, 0, 1)
        assert len(refused) > 1


async def test_a_job_that_is_cancelled_while_its_log_waits_ends_at_once(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.service.jobs.running.runner.CANCEL_S", 0.1)
    outage = Outage(monkeypatch, service.blobs, "put", BlobError("the blob store is away"))
    job = await caller.submit(LONG)
    await until(lambda: outage.refused > 0)
    await service.jobs.cancel(caller.key, job.id)
    assert (await caller.ended(job.id)).status == "cancelled"
