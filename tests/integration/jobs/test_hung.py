"""Jobs whose VM stops for good: each comes to the end that it has, and its VM is ended."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.net.backoff import Backoff
from emberbox.service.jobs.logs.reading import LogRecord
from emberbox.service.jobs.running import attempts as attempts_module
from tests.hung import BOUND_S, cut_bounds
from tests.patience import until

if TYPE_CHECKING:
    from emberbox.sandbox import Sandbox
    from emberbox.service.service import Service
    from tests.integration.jobs.conftest import Caller

LARGE = "true\n" + "# " + "x" * 2_000_000


def stop(sandbox: Sandbox) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(sandbox.pid, signal.SIGSTOP)


@pytest.fixture
def database_kind() -> str:
    """What becomes of a VM is written the same way to every database."""
    return "sqlite"


async def _stop_at_its_first_words(service: Service, job_id: str) -> Sandbox:
    async for item in service.logs.follow(job_id):
        if isinstance(item, LogRecord):
            live = service.live.get(job_id)
            assert live is not None
            assert live.sandbox is not None
            stop(live.sandbox)
            return live.sandbox
    raise AssertionError("the job ended without a word")


async def test_a_vm_that_stops_while_the_files_go_in_costs_an_attempt(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_bounds(monkeypatch)
    monkeypatch.setattr(attempts_module, "AGAIN", Backoff(first_s=0.05, longest_s=0.05))
    opened = service.engine.open_sandbox
    sandboxes: list[Sandbox] = []

    async def open_sandbox(*arguments: Any, **options: Any) -> Sandbox:
        sandbox = await opened(*arguments, **options)
        if not sandboxes:
            stop(sandbox)
        sandboxes.append(sandbox)
        return sandbox

    monkeypatch.setattr(service.engine, "open_sandbox", open_sandbox)
    job = await caller.run(LARGE)
    assert (job.status, job.attempt, job.losses) == ("succeeded", 2, 1)
    await until(lambda: all(sandbox.closed for sandbox in sandboxes))


async def test_files_go_in_within_the_jobs_own_bound(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.service.jobs.running.bounds.STAGE_S", -0.5)
    monkeypatch.setattr(attempts_module, "AGAIN", Backoff(first_s=0.05, longest_s=0.05))
    opened = service.engine.open_sandbox

    async def open_sandbox(*arguments: Any, **options: Any) -> Sandbox:
        sandbox = await opened(*arguments, **options)
        stop(sandbox)
        return sandbox

    monkeypatch.setattr(service.engine, "open_sandbox", open_sandbox)
    job = await caller.run(LARGE, timeout_s=1)
    assert job.status == "lost"
    assert "did not have the job's files after 0.5 s" in str(job.message)


async def test_the_services_own_clock_ends_a_program_too(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 3600.0)
    monkeypatch.setattr(
        "emberbox.service.jobs.running.bounds.FOLLOW_S", 1.0 - service.settings.vmm.clone_timeout_s
    )
    job = await caller.submit("echo on; sleep 60", timeout_s=10)
    sandbox = await _stop_at_its_first_words(service, job.id)
    ended = await caller.ended(job.id)
    assert (ended.status, ended.reason) == ("timed_out", "timeout")
    assert "did not end the program after 11 s" in str(ended.message)
    assert await caller.stdout(ended) == "on\n"
    assert sandbox.closed


async def test_a_vm_that_stops_behind_its_program_costs_what_it_left(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.sandbox.outputs.READ_S", 0.5)
    collect = service.artifacts.collect
    sandboxes: list[Sandbox] = []

    async def collecting(sandbox: Any, *arguments: Any, **options: Any) -> object:
        sandboxes.append(sandbox)
        stop(sandbox)
        return await collect(sandbox, *arguments, **options)

    monkeypatch.setattr(service.artifacts, "collect", collecting)
    job = await caller.run("echo kept > kept", artifacts=["kept"])
    assert (job.status, job.exit_code) == ("succeeded", 0)
    assert "longer than 0.5 s to read" in str(job.message)
    assert await service.artifacts.list(job.id) == []
    await until(lambda: sandboxes[0].closed)


async def test_a_job_whose_vm_has_stopped_is_cancelled_without_it(
    service: Service, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.service.jobs.running.runner.CANCEL_S", BOUND_S)
    job = await caller.submit("echo on; sleep 60", timeout_s=3600)
    sandbox = await _stop_at_its_first_words(service, job.id)
    await service.jobs.cancel(caller.key, job.id)
    ended = await caller.ended(job.id)
    assert (ended.status, await caller.stdout(ended)) == ("cancelled", "on\n")
    await until(lambda: sandbox.closed)


async def test_stopped_vms_hold_no_place_for_others(
    service: Service, caller: Caller, other: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", BOUND_S)
    count = service.worker.concurrency
    jobs = [await caller.submit("echo on; sleep 60", timeout_s=10) for _ in range(count)]
    for job in jobs:
        await _stop_at_its_first_words(service, job.id)
    assert (await other.run("echo through")).status == "succeeded"
    assert {(await caller.ended(job.id)).status for job in jobs} == {"timed_out"}
