"""A job that is waited for, and an interrupt at any moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.cli.remote.jobs import followed
from emberbox.cli.remote.jobs.followed import run_and_follow, told
from emberbox.client import JobEnded
from emberbox.errors import Conflict, EmberboxError, NotFound, ServerUnreachable
from emberbox.schemas.jobs import Job
from tests.unit.client.conftest import job_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JOB = Job.model_validate(job_values())


class Jobs:
    """The server's side: when it answers, and what it says to a cancellation."""

    def __init__(self, refusal: EmberboxError | None = None) -> None:
        self.answering = asyncio.Event()
        self.reached = asyncio.Event()
        self.cancelled: list[str] = []
        self.refusal = refusal

    async def submit(self) -> Job:
        self.reached.set()
        await self.answering.wait()
        return JOB

    async def events(self, job_id: str, **options: Any) -> AsyncIterator[JobEnded]:
        self.reached.set()
        await asyncio.Event().wait()
        yield JobEnded(JOB)

    async def cancel(self, job_id: str) -> Job:
        self.cancelled.append(job_id)
        if self.refusal is not None:
            raise self.refusal
        return JOB


async def _interrupted(jobs: Jobs, *, answered: bool) -> None:
    if answered:
        jobs.answering.set()
    client: Any = SimpleNamespace(jobs=jobs)
    task = asyncio.create_task(run_and_follow(client, jobs.submit()))
    await jobs.reached.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    jobs.answering.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("answered", [False, True], ids=["before the server answered", "while it runs"])
async def test_an_interrupt_cancels_the_job(capsys: pytest.CaptureFixture[str], answered: bool) -> None:
    jobs = Jobs()
    await _interrupted(jobs, answered=answered)
    assert jobs.cancelled == ["job_01"]
    assert capsys.readouterr().err == "emberbox: asked the server to cancel job_01\n"


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Conflict("x"), "job_01 had ended already"),
        (ServerUnreachable("no answer"), "job_01 could not be cancelled and may go on: no answer"),
    ],
)
async def test_what_comes_of_it_is_said(
    capsys: pytest.CaptureFixture[str], refusal: EmberboxError, said: str
) -> None:
    await _interrupted(Jobs(refusal), answered=True)
    assert capsys.readouterr().err == f"emberbox: {said}\n"


async def test_a_server_that_does_not_answer_is_not_waited_for_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "CANCEL_S", 0.05)
    jobs = Jobs()
    client: Any = SimpleNamespace(jobs=jobs)
    task = asyncio.create_task(run_and_follow(client, jobs.submit()))
    await jobs.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert jobs.cancelled == []
    assert "the job could not be cancelled and may go on: the server took too long" in capsys.readouterr().err


async def test_a_refused_submission_is_no_job(capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse() -> Job:
        raise NotFound("no such script")

    client: Any = SimpleNamespace(jobs=Jobs())
    with pytest.raises(NotFound):
        await run_and_follow(client, refuse())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, ""), ({"message": "m\x1b"}, ""), ({"status": "failed", "message": "m\x1b"}, "emberbox: m\\x1b\n")],
)
def test_why_it_ended_is_said_when_it_did_not_end_well(
    capsys: pytest.CaptureFixture[str], changes: dict[str, object], said: str
) -> None:
    told(Job.model_validate(job_values(**changes)))
    assert capsys.readouterr().err == said
