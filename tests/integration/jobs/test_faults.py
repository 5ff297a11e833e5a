"""What jobs come to when something else fails, or happens at an unlucky moment."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import CapacityExhausted
from emberbox.service.jobs.logs import writer as log_writer
from emberbox.service.jobs.logs.reading import AttemptBegan, JobEnded, LogRecord
from emberbox.service.jobs.submitting.order import JobOrder
from emberbox.service.jobs.submitting.submission import BATCH
from emberbox.store.records import JobSpec
from tests.integration.jobs.conftest import Caller
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.sandbox import Sandbox
    from emberbox.service.jobs.submitting.batch import Request
    from emberbox.service.service import Service
    from emberbox.service.upkeep.retention import SweepReport
    from emberbox.store.records import JobRecord


def _lose_once(service: Service) -> None:
    """Let a job be lost once; the second loss is its end."""
    for part in (service.worker, service.worker._attempts):
        part._settings = replace(part._settings, losses=1)


async def test_a_job_whose_vm_never_answers_is_run_again(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = service.engine.open_sandbox
    stopped: list[int] = []

    async def open_sandbox(*arguments: Any, **options: Any) -> Sandbox:
        sandbox = await opened(*arguments, **options)
        if not stopped:
            stopped.append(sandbox.pid)
            sandbox._live.patience_s = 0.5
            os.kill(sandbox.pid, signal.SIGSTOP)
        return sandbox

    monkeypatch.setattr(service.engine, "open_sandbox", open_sandbox)
    job = await caller.run("echo done")
    assert (job.status, job.attempt, job.losses, job.failures) == ("succeeded", 2, 1, 0)
    assert await caller.stdout(job) == "done\n"


async def test_a_job_whose_vm_stops_is_ended_by_the_hosts_clock(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 0.5)
    job = await caller.submit("echo on; sleep 100", timeout_s=1)
    async for item in service.logs.follow(job.id):
        if isinstance(item, LogRecord):
            live = service.live.get(job.id)
            assert live is not None
            assert live.sandbox is not None
            os.kill(live.sandbox.pid, signal.SIGSTOP)
    ended = await caller.ended(job.id)
    assert (ended.status, ended.reason) == ("timed_out", "timeout")


async def test_a_reader_who_lingers_between_attempts_sees_all_of_the_last(
    service: Service, caller: Caller
) -> None:
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


async def test_a_busy_host_costs_a_job_nothing(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = service.engine.open_sandbox, iter([CapacityExhausted("all machines are in use")] * 3)
    _lose_once(service)

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


class TestWithoutHeartbeats:
    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        return replace(
            service_settings, worker=replace(service_settings.worker, lease_s=7200, heartbeat_s=3600)
        )

    async def test_jobs_of_a_key_at_its_bound_follow_each_other_at_once(self, service: Service) -> None:
        key, _ = await service.keys.create("one at a time", ["run"], quota={"concurrent_jobs": 1})
        caller = Caller(service, key)
        ended = [await caller.ended(job.id) for job in [await caller.submit("true") for _ in range(5)]]
        assert [job.status for job in ended] == ["succeeded"] * 5

    async def test_an_attempt_that_was_lost_does_not_take_the_next_one_along(
        self, service: Service, caller: Caller
    ) -> None:
        job = await caller.submit("sleep 3600", timeout_s=3600)
        await caller.running(job.id)
        (first,) = service.worker._running.values()
        await service.queue.reclaim(interruptions=5, pause_s=lambda times: 0.0, workers=[service.worker.id])
        await until(lambda: service.worker.running == 2)
        first.cancel()
        await asyncio.wait({first}, timeout=PATIENCE_S)
        assert service.worker.running == 1, "the second attempt's lease would end"
        await service.worker.stop(0.0)
        now = await service.jobs.get(caller.key, job.id)
        assert (now.status, now.attempt, now.losses, now.interruptions) == ("queued", 2, 0, 2)


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


async def test_a_job_that_loses_its_cancellation_is_handed_back_all_the_same(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.tasks.AGAIN_S", 0.05)
    real, opening = service.engine.open_sandbox, asyncio.Event()

    async def deaf(*arguments: Any, **options: Any) -> Sandbox:
        opening.set()
        # As Python 3.11's `wait_for` does with a cancellation that comes together with its answer.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return await real(*arguments, **options)

    monkeypatch.setattr(service.engine, "open_sandbox", deaf)
    job = await caller.submit("sleep 3600", timeout_s=3600)
    await opening.wait()
    async with asyncio.timeout(PATIENCE_S):
        await service.worker.stop(0.0)
    now = await service.jobs.get(caller.key, job.id)
    assert (now.status, now.losses) == ("queued", 0)


async def test_a_log_that_could_not_be_written_whole_is_no_success(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = log_writer._write, iter([OSError(errno.ENOSPC, "No space left on device")])

    def sometimes(file: int, data: bytes, offset: int) -> None:
        if b"last" in data:
            for failure in failures:
                raise failure
        real(file, data, offset)

    monkeypatch.setattr(log_writer, "_write", sometimes)
    job = await caller.run("seq 30000; echo first; echo last")
    assert (job.status, job.attempt, job.losses, job.interruptions) == ("succeeded", 2, 0, 1)
    assert b"".join([piece async for piece in service.logs.raw(job)]).endswith(b"30000\nfirst\nlast\n")


async def test_a_mistake_in_one_batch_leaves_the_next_to_be_accepted(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await caller.run("true")
    await service.worker.stop()
    submission = service.submission
    real, failures = submission._write, iter([RuntimeError("a mistake")])

    async def sometimes(batch: list[Request]) -> object:
        for failure in failures:
            raise failure
        return await real(batch)

    monkeypatch.setattr(submission, "_write", sometimes)
    order = JobOrder(runtime="bash", entry="main.sh", content_sha=done.content_sha, spec=JobSpec(), labels={})
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(
            *(submission.submit(caller.key, order) for _ in range(BATCH + 10)), return_exceptions=True
        )
    assert [isinstance(answer, RuntimeError) for answer in answers] == [True] * BATCH + [False] * 10


async def test_cancelling_what_is_handed_back_at_this_moment(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.worker.stop()
    job = await caller.submit("true")
    real, looks = service.endings.end_queued, iter([None])

    async def it_ran_a_moment_ago(job_id: str) -> JobRecord | None:
        for look in looks:
            return look
        return await real(job_id)

    monkeypatch.setattr(service.endings, "end_queued", it_ran_a_moment_ago)
    assert (await service.jobs.cancel(caller.key, job.id)).status == "cancelled"
    assert (await service.jobs.get(caller.key, job.id)).status == "cancelled"


class TestSweeping:
    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        return replace(service_settings, retention=replace(service_settings.retention, sweep_s=1.0))

    async def test_a_mistake_in_a_sweep_is_not_the_end_of_sweeping(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, failures, swept = service.sweeper.sweep, iter([RuntimeError("a mistake")]), asyncio.Event()

        async def sometimes() -> SweepReport:
            for failure in failures:
                raise failure
            swept.set()
            return await real()

        monkeypatch.setattr(service.sweeper, "sweep", sometimes)
        async with asyncio.timeout(PATIENCE_S):
            await swept.wait()
