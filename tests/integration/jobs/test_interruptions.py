"""What ends an attempt early, whose fault that is, and what it costs the job."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import (
    BlobError,
    BootFailed,
    DataFolderBusy,
    EmberboxError,
    GuestGone,
    NoSpace,
    RequirementMissing,
    SnapshotFailed,
    StoreError,
    VmmDied,
    VmmStartFailed,
)
from emberbox.net.backoff import Backoff
from emberbox.service.jobs.logs.reading import LogRecord
from emberbox.service.jobs.running import attempts as attempts_module
from emberbox.service.jobs.running import pace as pace_module
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.sandbox import Sandbox
    from emberbox.service.jobs.running.live import LiveJob
    from emberbox.service.service import Service
    from emberbox.store.records import JobRecord
    from tests.integration.jobs.conftest import Caller

AT_ONCE = Backoff(first_s=0.01, longest_s=0.01)
SLEEPS = "echo on; sleep 3600"
"""A program that is cut short in each test that runs it."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts_module, "AGAIN", AT_ONCE)
    monkeypatch.setattr(attempts_module, "INTERRUPTED", AT_ONCE)
    monkeypatch.setattr(pace_module, "PAUSES", AT_ONCE)


def bound(service: Service, **bounds: int) -> None:
    """Let jobs be repeated less often."""
    for part in (service.worker, service.worker._attempts):
        part._settings = replace(part._settings, **bounds)


def counts(job: JobRecord) -> tuple[str, int, int, int]:
    return job.status, job.losses, job.interruptions, job.failures


async def outcomes_of(service: Service, job: JobRecord) -> list[str]:
    return [attempt.outcome for attempt in await service.jobs.attempts(job.id)]


def failing_at_first(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *failures: Exception) -> None:
    """Have a method fail, once with each of `failures`, before it does what it did."""
    real, left = getattr(owner, name), iter(failures)

    async def sometimes(*arguments: Any, **options: Any) -> Any:
        for failure in left:
            raise failure
        return await real(*arguments, **options)

    monkeypatch.setattr(owner, name, sometimes)


# -- before the job has a VM ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        VmmStartFailed("it did not come up"),
        VmmDied("it was gone at once"),
        SnapshotFailed("the template cannot be loaded"),
        DataFolderBusy("another process builds the template"),
        RequirementMissing("/usr/bin/qemu is not there"),
        NoSpace("no space left under /var/lib/emberbox"),
        StoreError("the database failed"),
        BlobError("the store is away"),
        EmberboxError("nobody thought of this"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_host_that_cannot_make_a_vm_costs_a_job_no_loss(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch, error: EmberboxError
) -> None:
    failing_at_first(monkeypatch, service.engine, "open_sandbox", *[error] * 5)
    job = await caller.run("echo in the end")
    assert counts(job) == ("succeeded", 0, 5, 0)
    attempts = await service.jobs.attempts(job.id)
    assert [attempt.outcome for attempt in attempts] == ["interrupted"] * 5 + ["succeeded"]
    assert "/" not in str(attempts[0].message), "callers learn no path of the host"


async def test_a_guest_that_does_not_boot_counts_against_its_job(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(service, losses=1)
    failing_at_first(monkeypatch, service.engine, "open_sandbox", *[BootFailed("its kernel panicked")] * 9)
    job = await caller.run("true")
    assert (job.status, job.reason) == ("lost", "vm_lost")
    assert job.message == "lost 2 times; the last time: its kernel panicked"
    assert await outcomes_of(service, job) == ["lost", "lost"]


async def test_a_mistake_of_the_worker_is_not_the_jobs(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at_first(monkeypatch, service.contents, "get", RuntimeError("a mistake in the worker"))
    assert counts(await caller.run("echo in the end")) == ("succeeded", 0, 1, 0)


async def test_a_job_that_breaks_its_worker_is_written_off(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(service, interruptions=2)
    failing_at_first(monkeypatch, service.contents, "get", *[RuntimeError("a mistake")] * 99)
    job = await caller.run("true")
    assert (job.status, job.reason) == ("lost", "worker_lost")
    assert job.message == "interrupted 3 times; the last time: its worker failed: RuntimeError"


# -- with its VM ---------------------------------------------------------------------------------


async def _begun(service: Service, job: JobRecord) -> LiveJob:
    """Wait until a job's program has written; returns the attempt."""
    async for item in service.logs.follow(job.id):
        if isinstance(item, LogRecord):
            break
    live = service.live.get(job.id)
    assert live is not None
    assert live.sandbox is not None
    return live


async def _cut_short(service: Service, caller: Caller, number: signal.Signals) -> JobRecord:
    """Send a signal to the VMM of a job whose program runs; returns the job at its end."""
    again = service.settings.data / "again"
    job = await caller.submit(f"[ -e {again} ] && exit; {SLEEPS}", timeout_s=3600)
    live = await _begun(service, job)
    again.touch()
    assert live.sandbox is not None
    os.kill(live.sandbox.pid, number)
    return await caller.ended(job.id)


async def test_a_vm_that_the_host_kills_under_a_program_is_not_the_programs_failure(
    service: Service, caller: Caller
) -> None:
    job = await _cut_short(service, caller, signal.SIGKILL)
    assert counts(job) == ("succeeded", 0, 1, 0)
    first, second = await service.jobs.attempts(job.id)
    assert (first.outcome, second.outcome) == ("interrupted", "succeeded")
    assert "killed by the host" in str(first.message)


async def test_a_vm_that_ends_by_itself_is(service: Service, caller: Caller) -> None:
    job = await _cut_short(service, caller, signal.SIGABRT)
    assert (job.status, job.reason, job.interruptions) == ("failed", "vm_died", 0)


async def test_a_vm_that_is_killed_for_its_own_use_of_memory_is(service: Service, caller: Caller) -> None:
    job = await caller.submit(SLEEPS, timeout_s=3600)
    live = await _begun(service, job)
    assert live.sandbox is not None
    # As a control group says it that came to its bound.
    live.sandbox._live.machine.overran = lambda: True  # type: ignore[attr-defined]
    os.kill(live.sandbox.pid, signal.SIGKILL)
    ended = await caller.ended(job.id)
    assert (ended.status, ended.reason, ended.interruptions) == ("failed", "vm_died", 0)


@pytest.mark.parametrize(
    ("number", "losses", "interruptions"), [(signal.SIGKILL, 0, 1), (signal.SIGABRT, 1, 0)]
)
async def test_a_vm_that_is_gone_before_the_program_begins(
    service: Service,
    caller: Caller,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    losses: int,
    interruptions: int,
) -> None:
    opened, hit = service.engine.open_sandbox, iter([number])

    async def open_sandbox(*arguments: Any, **options: Any) -> Sandbox:
        sandbox = await opened(*arguments, **options)
        for one in hit:
            os.kill(sandbox.pid, one)
        return sandbox

    monkeypatch.setattr(service.engine, "open_sandbox", open_sandbox)
    job = await caller.run("echo done", files={"a": "b"})
    assert counts(job) == ("succeeded", losses, interruptions, 0)


async def test_a_guest_that_hangs_up_counts_against_its_job(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at_first(monkeypatch, service.worker._attempts._runner, "_stage", GuestGone("it hung up"))
    assert counts(await caller.run("true")) == ("succeeded", 1, 0, 0)


# -- disk and stores -----------------------------------------------------------------------------


async def test_a_disk_that_is_full_under_a_program_costs_an_attempt_and_no_loss(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emberbox.service.jobs.logs import writer

    real, failures = writer._write, iter([OSError(errno.ENOSPC, "No space left on device")] * 5)

    def sometimes(file: int, data: bytes, offset: int) -> None:
        for failure in failures:
            raise failure
        real(file, data, offset)

    monkeypatch.setattr(writer, "_write", sometimes)
    job = await caller.run("seq 30000")
    assert counts(job) == ("succeeded", 0, 5, 0)
    assert job.stdout_bytes == len("".join(f"{number}\n" for number in range(1, 30_001)))


async def test_no_further_jobs_are_begun_in_vain(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full, a long queue waits; its jobs are not begun one after the other."""
    monkeypatch.setattr(pace_module, "PAUSES", Backoff(first_s=3600, longest_s=3600))
    monkeypatch.setattr(attempts_module, "INTERRUPTED", Backoff(first_s=3600, longest_s=3600))
    failing_at_first(monkeypatch, service.engine, "open_sandbox", *[NoSpace("full")] * 99)
    first = await caller.submit("true")
    await until(lambda: service.worker._pace.pause_s > 0)
    others = [await caller.submit("true") for _ in range(3)]
    await until(lambda: service.worker.running == 0)
    assert [await outcomes_of(service, job) for job in (first, *others)] == [["interrupted"], [], [], []]
    service.worker._pace.ease()


def _no_more_pauses(pace: Any) -> Callable[[], object]:
    return lambda: pace.pause_s == 0


async def test_a_success_ends_the_pauses(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at_first(monkeypatch, service.engine, "open_sandbox", *[NoSpace("full")] * 3)
    assert (await caller.run("true")).status == "succeeded"
    pace = service.worker._pace
    await until(_no_more_pauses(pace))
    assert pace._failures == 0


# -- the worker ----------------------------------------------------------------------------------


async def test_what_a_dead_worker_held_is_told_as_it_was(service: Service, caller: Caller) -> None:
    await service.worker.stop()
    bound(service, interruptions=1, losses=0)
    job = await caller.submit("true")
    await service.queue.claim("dead", 1, 30.0)
    await service.worker.reclaim(["dead"])
    now = await service.jobs.get(caller.key, job.id)
    assert counts(now) == ("queued", 0, 1, 0)
    await until_claimed(service, job)
    await service.worker.reclaim(["dead"])
    ended = await service.jobs.get(caller.key, job.id)
    assert (ended.status, ended.reason, ended.losses) == ("lost", "worker_lost", 0)
    assert ended.message == "interrupted 2 times; the last time: its worker stopped without a word"
    assert service.telemetry.registry.get_sample_value("emberbox_job_attempts_interrupted_total") == 2
    assert service.telemetry.registry.get_sample_value("emberbox_job_attempts_lost_total") == 0


async def until_claimed(service: Service, job: JobRecord) -> None:
    """Claim a job for a worker that is dead, as soon as its pause is over."""
    async with asyncio.timeout(PATIENCE_S):
        # Nothing tells of the end of a pause.
        while [claimed.id for claimed in await service.queue.claim("dead", 1, 30.0)] != [job.id]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
