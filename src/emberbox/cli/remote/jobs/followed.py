"""A job that the command waits for: its output as it comes, its end as the exit code."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from emberbox.cli import exit_codes
from emberbox.cli.failures import say
from emberbox.cli.streams import Sink, feeding, read_pieces
from emberbox.errors import Conflict, EmberboxError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from emberbox.client import AsyncClient
    from emberbox.client._async.conversation import AsyncConversation
    from emberbox.client._async.jobs import Stream
    from emberbox.client.log_events import JobEvent
    from emberbox.schemas.jobs import Job

_STDIN, _STDOUT, _STDERR = 0, 1, 2
CANCEL_S = 15.0


async def run_and_follow(
    client: AsyncClient, submitting: Awaitable[Job], *, quiet: bool = False, interactive: bool = False
) -> Job:
    """Submit a job, show its output until its end, and return it.

    When it is interrupted, or nobody reads the output any more, the server is asked to cancel the
    job, however far the submission had come.

    Args:
        client: The server.
        submitting: The call that hands it in.
        quiet: Show no output.
        interactive: Pass this command's standard input to the program as it comes.
    """
    task = asyncio.ensure_future(submitting)
    try:
        job = await asyncio.shield(task)
        if interactive:
            return await talk(client, job.id)
        return await (client.jobs.wait(job.id) if quiet else follow(client, job.id))
    except (asyncio.CancelledError, BrokenPipeError):
        await _cancel(client, task)
        raise


async def _cancel(client: AsyncClient, task: asyncio.Future[Job]) -> None:
    try:
        async with asyncio.timeout(CANCEL_S):
            job = await task
            await client.jobs.cancel(job.id)
    except Conflict:
        say(f"{task.result().id} had ended already")
    except (EmberboxError, TimeoutError) as error:
        name = (
            task.result().id
            if task.done() and not task.cancelled() and task.exception() is None
            else "the job"
        )
        say(f"{name} could not be cancelled and may go on: {str(error) or 'the server took too long'}")
    else:
        say(f"asked the server to cancel {job.id}")


async def follow(
    client: AsyncClient, job_id: str, *, stream: Stream | None = None, after: str | None = None
) -> Job:
    """Write a job's output to this command's own, unchanged, until the job has ended, and return it."""
    # Closed here: a reader that goes away leaves it half-way, and it holds a connection.
    async with aclosing(client.jobs.events(job_id, stream=stream, after=after, binary=True)) as events:
        return await Output().show(events) or await client.jobs.wait(job_id)


async def talk(client: AsyncClient, job_id: str) -> Job:
    """Write a job's output to this command's own, and pass on this command's input.

    Returns the job when it has ended.
    """
    output = Output()
    try:
        async with (
            client.jobs.attach(job_id, binary=True) as conversation,
            feeding(_feed(conversation), "submit-stdin"),
        ):
            ended = await output.show(aiter(conversation))
    except Conflict:
        # It ended before its input did, or runs where no input can be given: its output is still to be had.
        ended = await output.show(client.jobs.events(job_id, after=output.last, binary=True))
    return ended or await client.jobs.wait(job_id)


async def _feed(conversation: AsyncConversation) -> None:
    try:
        async for piece in read_pieces(_STDIN):
            await conversation.write(piece)
        await conversation.close_stdin()
    except EmberboxError:
        return  # the output ends as well, and its reader tells why


class Output:
    """Writes a job's output to this command's own. `last` is the id of the entry that was written last."""

    def __init__(self) -> None:
        self._sinks = {"stdout": Sink(_STDOUT), "stderr": Sink(_STDERR)}
        self.last: str | None = None

    async def show(self, events: AsyncIterator[JobEvent]) -> Job | None:
        """Write it all; return the job when its end was told."""
        from emberbox.client import AttemptBegan, JobEnded, JobProgress
        from emberbox.client.log_events import entry_bytes

        async for event in events:
            if isinstance(event, JobEnded):
                return event.job
            if isinstance(event, JobProgress):
                say(event.message)
            elif not isinstance(event, AttemptBegan):
                await self._sinks[event.stream].write(entry_bytes(event, binary=True))
                self.last = event.id
            elif event.attempt > 1:
                say(f"attempt {event.attempt} begins")
        return None


def told(job: Job) -> int:
    """Say why a job did not end well, where its program has not, and return the exit code."""
    if job.message is not None and not job.ok:
        say(job.message)
    return exit_codes.of_job(job)
