"""The seam of the queue: a database keeps it by itself, and a broker could do as well.

The row of a job is its truth. A queue decides who runs the job next: it owns the job's place in
line, the way out of the line, the lease of a worker, and the list of workers. An implementation
passes the suite in `tests/contract/queue`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.service.accounts.quota import Share
    from emberbox.store.records import JobRecord

Places = Callable[[str, int], int]
"""Returns a team's next turn, given its id and a precedence. Each call takes that turn."""

SILENT = "its worker stopped without a word"
"""Why an attempt ended of which nobody wrote the end: the service was killed, or its lease ran out."""


def counter_of(outcome: str) -> str | None:
    """Return the column that counts attempts which ended so and are repeated; None where none does.

    Args:
        outcome: `lost` with its own VM, `interrupted` by what is not the job's doing, `given_back` before it
            began, or a status: its program failed.
    """
    return _COUNTERS.get(outcome, "failures")


_COUNTERS = {"lost": "losses", "interrupted": "interruptions", "given_back": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How much waits and runs.

    Args:
        counts: How many jobs there are, by (status, runtime); the status is `queued` or `running`.
        oldest_s: Since when a job could start that still waits, at most; 0 without one.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest_s: float = 0.0

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return self._count("queued")

    @property
    def running(self) -> int:
        """How many jobs run."""
        return self._count("running")

    def _count(self, wanted: str) -> int:
        return sum(count for (status, _), count in self.counts.items() if status == wanted)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many jobs wait, and what they are made of in bytes."""

    jobs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    """Jobs taken from workers that said nothing: those that wait again, and those with one too many."""

    requeued: tuple[str, ...] = ()
    exhausted: tuple[JobRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequests:
    """Ids of jobs whose cancellation was asked for: those that wait, and those that a worker holds."""

    queued: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker that takes jobs. Times are whole microseconds since the epoch.

    Args:
        id: Of the worker; a service that starts again has another one.
        node: Names the data folder that the worker has for itself.
        concurrency: Jobs that it runs at once.
        started_at: When it was listed.
        seen_at: When it was last heard of.
        running: Jobs that it holds now.
    """

    id: str
    node: str
    concurrency: int
    started_at: int
    seen_at: int
    running: int = 0


class WorkerList(Protocol):
    """The workers that take jobs from a queue. All methods but `enter` are safe to repeat."""

    async def enter(self, worker_id: str, *, node: str, concurrency: int) -> list[str]:
        """List a worker that starts now; returns the earlier workers of its node, which are dead."""

    async def seen(self, worker_id: str, *, forget_s: float) -> None:
        """Note that a worker lives, and forget those that were not seen for `forget_s` seconds."""

    async def leave(self, worker_ids: Collection[str]) -> None:
        """Take workers off the list."""

    async def count(self, within_s: float) -> int:
        """Count the workers that were seen within the last `within_s` seconds."""

    async def living(self, within_s: float) -> list[WorkerRecord]:
        """Return those workers in the order of their ids, at most 1000."""


class JobQueue(Protocol):
    """Hands each queued job to one worker at a time.

    Order: higher precedence first, which is what the operator grants; within a precedence, teams
    take turns, however many jobs each has queued; within a team, higher priority first, and then
    first come first served. A team or key at its bound of running jobs is passed over. A claimed
    job is leased: a worker that stops renewing loses it. All methods are safe to repeat; a
    cancelled call has either happened whole or not at all.

    A method that takes a `connection` does its part within the caller's transaction, and waits for
    nothing else.
    """

    @property
    def workers(self) -> WorkerList:
        """The workers that take jobs from this queue."""

    # -- coming in --------------------------------------------------------------------------------

    async def places(self, connection: AsyncConnection, wanted: Collection[tuple[str, int]]) -> Places:
        """Return how turns are given to new jobs; they become the rows' `fair_order`.

        A turn is the team's: whichever of its jobs of that precedence comes first takes it.

        Args:
            connection: Of the transaction that inserts the rows.
            wanted: The teams' ids and precedences for which there are new jobs.
        """

    async def waiting(self, connection: AsyncConnection, share: Share | None) -> Waiting:
        """Count the jobs of a team or of one key that wait; None counts those of all teams."""

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """Offer jobs whose rows say `queued`. Offering one twice is harmless."""

    # -- to a worker and back ---------------------------------------------------------------------

    async def claim(self, worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        """Take up to `count` jobs, at once; none when nothing may start now.

        Their rows say `running`, with a new attempt.
        """

    async def wait(self, timeout_s: float) -> None:
        """Return when something may be claimable, or after `timeout_s`; may return early for no reason."""

    async def renew(self, worker_id: str, lease_s: float, job_ids: Collection[str]) -> Collection[str]:
        """Renew the leases of those of `job_ids` that the worker holds, and return them.

        The others it has lost. What it holds without knowing is not renewed: a claim whose answer
        was lost, an end that could not be written.
        """

    async def give_back(self, job: JobRecord, *, delay_s: float, outcome: str, message: str | None) -> bool:
        """Let a claimed job wait again, startable after `delay_s`.

        Args:
            job: As claimed.
            delay_s: For this long it is not handed out.
            outcome: How the attempt ended; `counter_of` says what it counts as.
            message: Why; kept with the attempt.

        Returns:
            False when the worker no longer held it: nothing was changed.
        """

    async def reclaim(
        self, *, interruptions: int, pause_s: Callable[[int], float], workers: Collection[str] = ()
    ) -> Reclaimed:
        """Take back jobs whose leases ran out, and all those of `workers`, which are known to be dead.

        That is an interruption: what ended the worker is not known to be the job's doing.

        Args:
            interruptions: A job that was interrupted more often than this does not wait again: it is
                returned as exhausted, still leased to nobody.
            pause_s: Returns for how long a job is not handed out, given how often it was interrupted by now.
            workers: Ids of workers whose leases need not be waited for.
        """

    # -- out of the queue -------------------------------------------------------------------------

    async def end_held(self, connection: AsyncConnection, job: JobRecord, end: Mapping[str, Any]) -> bool:
        """End a claimed job: write `end` to its row.

        Args:
            connection: Of the transaction that writes all that goes with the end.
            job: As claimed.
            end: Columns of the row, with a terminal `status` among them; always the same ones.

        Returns:
            False when the worker no longer held that attempt: nothing was changed.
        """

    async def end_queued(
        self, connection: AsyncConnection, job_id: str, end: Mapping[str, Any]
    ) -> JobRecord | None:
        """Take a job that waits out of the line and write `end` to its row, as `end_held` does.

        Returns:
            The job as it is now; None when it does not wait any more, and nothing was changed.
        """

    async def request_cancel(self, job_id: str) -> JobRecord | None:
        """Note that a job is to be cancelled, unless it has ended: it is not handed out any more.

        Returns:
            The job as it is now; None when there is none.
        """

    async def request_cancel_of(
        self, connection: AsyncConnection, key_id: str, *, running: bool
    ) -> CancelRequests:
        """Note that all jobs of a key that wait are to be cancelled, as `request_cancel` does.

        Args:
            connection: Of the caller's transaction.
            key_id: Who submitted them.
            running: Those that run as well.

        Returns:
            The jobs: those that wait, and those that any worker holds.
        """

    async def cancel_requests(self, worker_id: str) -> CancelRequests:
        """Return jobs to be cancelled that have not ended: some that wait, and all of the worker's."""

    # -- looking ----------------------------------------------------------------------------------

    async def depth(self) -> QueueDepth:
        """Count what waits and what runs."""
