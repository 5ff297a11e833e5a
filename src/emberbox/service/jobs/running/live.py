"""Jobs that run in this process, and those that ended a moment ago: their output, and the ways in."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emberbox.errors import Conflict
from emberbox.service.jobs.logs.writer import HEAD, LogWriter
from emberbox.service.recent import Recent
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.sandbox import Process, Sandbox
    from emberbox.service.accounts.reservations import Reservation
    from emberbox.store.records import JobRecord

START_S = 600.0
"""How long input waits for the program to begin."""
RECENT = 256
"""Jobs whose end is remembered, for those who waited for it."""


@dataclass(frozen=True, slots=True)
class JobOutput:
    """The beginnings of both streams, at most 64 KiB each, and whether more was written.

    `compile` holds what is told of the compile stage; None without one.
    """

    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    compile: dict[str, Any] | None = None


def output_of(
    job: JobRecord, stdout: bytes = b"", stderr: bytes = b"", compiled: dict[str, Any] | None = None
) -> JobOutput:
    """Return the beginnings of what a job wrote, cut to what a result shows."""
    stdout, stderr = stdout[:HEAD], stderr[:HEAD]
    return JobOutput(stdout, stderr, len(stdout) < job.stdout_bytes, len(stderr) < job.stderr_bytes, compiled)


class LiveJob:
    """One attempt of a job, while it runs here.

    Args:
        job: As claimed.
        log: Its output.
        room: What is promised for what the attempt leaves, until its end is written.
    """

    def __init__(self, job: JobRecord, log: LogWriter, room: Reservation) -> None:
        self.job = job
        self.log = log
        self.room = room
        self.cancelled = asyncio.Event()
        self.begun_s = time.perf_counter()
        """When the attempt began, on the monotonic clock."""
        self.started_at: int | None = None
        """When the program began, in µs since the epoch."""
        self.sandbox: Sandbox | None = None
        self.process: Process | None = None
        """The program, while it runs."""
        self._begun = asyncio.Event()

    def begin(self, process: Process, started_at: int) -> None:
        """Note that the program was started, at `started_at` µs."""
        self.process = process
        self.started_at = started_at
        self.log.begin()
        self._begun.set()

    def end(self) -> None:
        """Note that the program has ended: what waits to feed it is refused."""
        self.process = None
        self.log.begin()
        self._begun.set()

    async def _running(self) -> Process:
        await set_within(self._begun, START_S)
        if self.process is None:
            raise Conflict("the program has ended")
        return self.process

    async def write_stdin(self, data: bytes) -> None:
        """Send `data` to the program; waits until it has begun, and while it does not read.

        Raises:
            Conflict: The job is not interactive, or the program has ended.
        """
        await (await self._fed()).write_stdin(data)

    async def close_stdin(self) -> None:
        """Let the program see the end of its input. Raises `Conflict` as `write_stdin` does."""
        await (await self._fed()).close_stdin()

    async def signal(self, number: int) -> None:
        """Send a signal to the program. Raises `Conflict` when it has ended."""
        await (await self._running()).signal(number)

    async def _fed(self) -> Process:
        if not self.job.spec.interactive:
            raise Conflict("the job takes no input while it runs: submit it with 'interactive'")
        return await self._running()


class LiveJobs:
    """All jobs that run in this process, news of those that change, and the ends of the latest."""

    def __init__(self) -> None:
        self._jobs: dict[str, LiveJob] = {}
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._cancelled_early: set[str] = set()
        self.closing = asyncio.Event()
        """Set when those who follow or wait should be let go: the service is about to end."""
        self.recent: Recent[str, tuple[JobRecord, JobOutput]] = Recent(RECENT)
        """Jobs that ended here a moment ago, with their output: looking at one needs no database."""

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._jobs)

    def add(self, live: LiveJob) -> None:
        """Note that a job runs here."""
        if live.job.id in self._cancelled_early:
            self._cancelled_early.discard(live.job.id)
            live.cancelled.set()
        self._jobs[live.job.id] = live
        self.notify(live.job.id)

    def remove(self, live: LiveJob) -> None:
        """Note that an attempt is over. Repeating is harmless."""
        live.end()
        if self._jobs.get(live.job.id) is live:
            del self._jobs[live.job.id]
        self._cancelled_early.discard(live.job.id)
        self.notify(live.job.id)

    def release_followers(self) -> None:
        """Let go those who follow or wait, whatever they wait for. They may come back to the next service."""
        self.closing.set()
        for job_id in list(self._watchers):
            self.notify(job_id)

    def get(self, job_id: str) -> LiveJob | None:
        """Return the job if it runs here."""
        return self._jobs.get(job_id)

    def log_of(self, job_id: str) -> LogWriter | None:
        """Return the output of the job if it runs here."""
        live = self._jobs.get(job_id)
        return None if live is None else live.log

    def cancel_here(self, job_id: str) -> None:
        """Have a job ended if it runs here; where it runs, it is ended at the next heartbeat."""
        if live := self._jobs.get(job_id):
            live.cancelled.set()

    def cancel(self, job_id: str) -> None:
        """Have a running job ended; one that was claimed this very moment is ended as soon as it is here."""
        if live := self._jobs.get(job_id):
            live.cancelled.set()
        else:
            self._cancelled_early.add(job_id)

    async def wait_for(self, job_id: str, timeout_s: float) -> LiveJob | None:
        """Return the job as soon as it runs here; None when that takes longer."""
        with self.watching(job_id) as changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while job_id not in self._jobs:
                        changed.clear()
                        await changed.wait()
            return self._jobs.get(job_id)

    @contextmanager
    def watching(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the job begins, ends or changes its state in this process."""
        changed = asyncio.Event()
        self._watchers[job_id].add(changed)
        try:
            yield changed
        finally:
            self._watchers[job_id].discard(changed)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    def notify(self, job_id: str) -> None:
        """Wake those that watch the job."""
        for changed in self._watchers.get(job_id, ()):
            changed.set()
