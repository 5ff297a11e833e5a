"""What became of attempts and cannot be written yet: it is kept in memory, tried again, and told.

An attempt that waits here keeps its place among those that run. So `worker.concurrency` bounds how
many wait, and while one does, its worker takes no further jobs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from emberbox.errors import EmberboxError, NotReady
from emberbox.net.backoff import Backoff
from emberbox.service.jobs.running.blame import UNWRITTEN, told_of
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.store.records import JobRecord

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

RETRY = Backoff(first_s=0.5, longest_s=10.0)


class HeldEnds:
    """Writes again and again what must not be lost.

    Args:
        hold_s: For how long, in seconds.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._reasons: dict[tuple[str, int], str] = {}
        self._given_up = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        """Return how many wait to be written."""
        return len(self._reasons)

    async def insist(
        self, job: JobRecord, write: Callable[[], Awaitable[_T]], *, waiting: Callable[[], None]
    ) -> _T:
        """Repeat `write` until it succeeds, and return what it does.

        Args:
            job: Whose attempt it is about.
            write: Writes all of it or nothing; may be repeated.
            waiting: Called at the first failure, to let go what is not needed to go on.

        Raises:
            StoreError, NoSpace, BlobError: `hold_s` has passed, or `give_up` was called.
        """
        begun_s, failures = time.monotonic(), 0
        try:
            while True:
                try:
                    done = await write()
                except UNWRITTEN as error:
                    failures += 1
                    waiting()
                    self._hold(job, error)
                    if self._given_up.is_set() or time.monotonic() - begun_s > self._hold_s:
                        raise
                    await set_within(self._given_up, RETRY.pause_s(failures))
                else:
                    if failures:
                        _tell_written(job, time.monotonic() - begun_s)
                    return done
        finally:
            self._release(job)

    def _hold(self, job: JobRecord, error: EmberboxError) -> None:
        self._reasons[job.id, job.attempt] = told_of(error)
        self._none.clear()
        facts = {"job": job.id, "attempt": job.attempt, "code": error.code, "detail": error.detail}
        told = "what became of a job is kept in memory, since it cannot be written: %s"
        _log.warning(told, error, extra={"action": "job.write_failed", **facts})

    def _release(self, job: JobRecord) -> None:
        self._reasons.pop((job.id, job.attempt), None)
        if not self._reasons:
            self._none.set()

    def give_up(self) -> None:
        """Let what waits fail at once: the service ends. It tries each once more."""
        self._given_up.set()

    async def none(self, at_most_s: float) -> bool:
        """Wait until nothing waits to be written; returns whether that is so, after `at_most_s` at most."""
        # It is asked before each job: a timer for each would stay with the event loop for a while.
        return self._none.is_set() or await set_within(self._none, at_most_s)

    def told_of(self, job: JobRecord) -> str | None:
        """Return what a caller is told of a job whose attempt has ended and waits here; None for others."""
        reason = self._reasons.get((job.id, job.attempt))
        return reason and f"this attempt has ended, and waits to be written down: {reason}"

    async def check(self) -> None:
        """Raise `NotReady` while something waits to be written; the message says how much, and why."""
        if self._reasons:
            reason = next(iter(self._reasons.values()))
            raise NotReady(f"jobs that have ended wait to be written down ({len(self._reasons)}): {reason}")


def _tell_written(job: JobRecord, held_s: float) -> None:
    told = "what became of a job was written after %.0f s"
    _log.info(told, held_s, extra={"action": "job.written_late", "job": job.id})
