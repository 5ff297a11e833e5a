# Written by scripts/sync_client.py from _async/jobs.py; change that instead.
"""Jobs: asked for, waited for, followed, ended."""

from __future__ import annotations

import math
import secrets
import time
from contextlib import closing
from typing import TYPE_CHECKING, Literal

from emberbox.client._sync.artifacts import Artifacts
from emberbox.client._sync.following import follow_log, read_log
from emberbox.client._sync.runtimes import runtime_for
from emberbox.client.orders import encode_code, encode_options
from emberbox.client.paths import label_filter, path_of
from emberbox.client.retries import PATIENT
from emberbox.client.waiting import call, sleep
from emberbox.errors import InvalidInput, ServerUnreachable
from emberbox.schemas.jobs import Job, LogEntry

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractContextManager
    from typing import Unpack

    from emberbox.client._sync.conversation import Conversation
    from emberbox.client.log_events import AttemptBegan, JobEnded
    from emberbox.client.orders import Content, JobParameters
    from emberbox.schemas.jobs import JobStatus

WAIT_S = 25.0
"""How long one request waits for a job: below what proxies take for a dead connection."""
_LEAST_PAUSE_S = 0.2

Stream = Literal["stdout", "stderr"]


class Jobs(Artifacts):
    """The jobs of this key: `client.jobs`."""

    def submit(
        self,
        code: Content | None = None,
        *,
        runtime: str | None = None,
        entry: str | None = None,
        script_id: str | None = None,
        wait: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[JobParameters],
    ) -> Job:
        """Hand in a job. Repeated by itself when the answer is lost, without ever making two jobs.

        Args:
            code: The script: text, bytes, or a `Path`. None when `options["files"]` holds it, or
                with `script_id`.
            runtime: Name or alias; None to tell it from the name of a `Path`.
            entry: Name of the script in the work folder.
            script_id: Run this uploaded script instead.
            wait: Return when the job has ended, instead of at once.
            idempotency_key: Two calls with the same one make one job; None for one of this call.
            options: See `JobParameters`.

        Raises:
            InvalidInput: Something of it cannot be used.
            QuotaExceeded: The key's share is used up.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(24)}
        if script_id is not None:
            if code is not None or runtime is not None or entry is not None:
                raise InvalidInput(
                    "a script that was uploaded has its code, its runtime and its entry point already"
                )
            path = path_of("scripts", script_id, "run")
            body = call(encode_options, options)
        else:
            if runtime is None:
                runtime = runtime_for(self._transport, code, entry)
            path = "/v1/jobs"
            body = call(encode_code, code, runtime, entry, options)
        wait_s = WAIT_S if wait else 0.0
        query = {"wait": wait_s} if wait else {}
        job = self._transport.post(Job, path, body, query=query, headers=headers, wait_s=wait_s)
        return self.wait(job.id) if wait and not job.status.terminal else job

    def get(self, job_id: str) -> Job:
        """Return a job as it is now. Raises `NotFound`."""
        return self._transport.get(Job, path_of("jobs", job_id))

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, and return it; after `timeout_s` seconds as it is then.

        None waits as long as it takes. A service that is restarted meanwhile ends no waiting.
        Raises `NotFound`, or `ServerUnreachable` when it stays away.
        """
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            wait_s = WAIT_S if ends is None else max(0.0, min(WAIT_S, ends - began))
            job = self._look(job_id, wait_s, ends)
            now = time.monotonic()
            if job.status.terminal or (ends is not None and now >= ends):
                return job
            if now - began < _LEAST_PAUSE_S:
                # A server that answers at once, since it waits for nobody now, is not asked again at once.
                sleep(_LEAST_PAUSE_S)

    def _look(self, job_id: str, wait_s: float, ends: float | None) -> Job:
        """Return a job at its end or after `wait_s`.

        Goes on trying over a restart of the service, but not beyond `ends`.
        """
        broken = 0
        while True:
            try:
                return self._transport.get(Job, path_of("jobs", job_id), wait_s=wait_s, wait=round(wait_s, 3))
            except ServerUnreachable as error:
                broken += 1
                left_s = math.inf if ends is None else ends - time.monotonic()
                pause_s = PATIENT.pause_s(error, broken, safe=True, left_s=left_s)
                if pause_s is None:
                    raise
                sleep(pause_s)

    def list(
        self,
        *,
        team: str | None = None,
        status: JobStatus | str | None = None,
        runtime: str | None = None,
        script_id: str | None = None,
        label: tuple[str, str] | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Yield jobs, newest first, without their output. `limit` None means all.

        `team` is the id of another team, or `all`, which needs the scope `operator`; None for this key's.
        """
        query = {
            "team": team,
            "status": None if status is None else str(status),
            "runtime": runtime,
            "script_id": script_id,
            "label": label_filter(label),
        }
        return self._transport.pages(Job, "/v1/jobs", limit=limit, **query)

    def cancel(self, job_id: str) -> Job:
        """Ask for a job's end, queued or running; safe to repeat.

        Raises `NotFound`, or `Conflict` when it ended otherwise.
        """
        return self._transport.post(Job, path_of("jobs", job_id, "cancel"))

    def rerun(self, job_id: str, *, wait: bool = False) -> Job:
        """Hand in a job again, as it was, and return the new one. Raises `NotFound`.

        Not repeated when the answer is lost.
        """
        job = self._transport.post(Job, path_of("jobs", job_id, "rerun"))
        return self.wait(job.id) if wait else job

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its log and artifacts.

        Raises `NotFound`, or `Conflict` while it has not ended.
        """
        self._transport.request("DELETE", path_of("jobs", job_id))

    def logs(
        self,
        job_id: str,
        *,
        follow: bool = False,
        stream: Stream | None = None,
        after: str | None = None,
        binary: bool = False,
    ) -> Generator[LogEntry]:
        """Yield a job's output in the order in which it was written. Raises `NotFound`.

        Args:
            job_id: The job.
            follow: Go on until the job has ended. A connection that breaks is made anew; nothing is
                missed or repeated.
            stream: Only this one; None for both.
            after: The `id` of the entry to go on behind; None from the beginning.
            binary: Have the `data` of entries in base 64, which keeps bytes that are no text.
        """
        if follow:
            return _entries(self.events(job_id, stream=stream, after=after, binary=binary))
        return read_log(self._transport, path_of("jobs", job_id), stream, after, binary=binary)

    def events(
        self, job_id: str, *, stream: Stream | None = None, after: str | None = None, binary: bool = False
    ) -> Generator[LogEntry | AttemptBegan | JobEnded]:
        """Follow a job: its output, each new attempt, and last its end. For the arguments see `logs`."""
        return follow_log(self._transport, path_of("jobs", job_id), stream, after, binary=binary)

    def attach(
        self, job_id: str, *, after: str | None = None, binary: bool = False
    ) -> AbstractContextManager[Conversation]:
        """Talk to a job that was submitted with `interactive=True`: see `Conversation`.

        For the arguments see `logs`.
        """
        from emberbox.client._sync.conversation import converse

        return converse(self._transport.place, path_of("jobs", job_id), after, binary=binary)

    def output(self, job_id: str, stream: Stream | None = None, *, tail: int | None = None) -> bytes:
        """Return what a job has written, as it was. Raises `NotFound`.

        Args:
            job_id: The job.
            stream: Only this one; None for both, in order.
            tail: Only so many of the last lines; None for all.
        """
        path = path_of("jobs", job_id, "logs")
        return self._transport.content(path, stream=stream, format="text", tail=tail)


def _entries(events: Generator[LogEntry | AttemptBegan | JobEnded]) -> Generator[LogEntry]:
    with closing(events):
        for event in events:
            if isinstance(event, LogEntry):
                yield event
