"""The seam of the queue: what a database does by itself and a broker could do as well.

The row of a job is its truth; a queue decides who runs it next. An implementation passes the suite in `tests/contract/queue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from emberbox.store.records import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How much waits. `oldest_s`: for how long the job waits that waits longest, among those that could start; 0 for none."""

    queued: int
    running: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    """Jobs taken from workers that said nothing: those that wait again, and those lost once too often."""

    requeued: tuple[str, ...] = ()
    exhausted: tuple[JobRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs a key may run at once: `of` by key id, `default` for the others; 0 means no bound."""

    default: int = 0
    of: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether any key has a bound."""
        return self.default > 0 or any(bound > 0 for bound in self.of.values())

    def __call__(self, key_id: str) -> int:
        """Return the bound of a key."""
        return self.of.get(key_id, self.default)


class JobQueue(Protocol):
    """Hands each queued job to one worker at a time.

    Order: higher priority first; within a priority, keys take turns, however many jobs each has queued; within a key, first come
    first served. A key at its bound of running jobs is passed over. A claimed job is leased: a worker that stops renewing
    loses it. All methods are safe to repeat; a cancelled call has either happened whole or not at all.
    """

    async def put(self, jobs: Sequence[JobRecord]) -> None:
        """Offer jobs whose rows say `queued`. Offering one twice is harmless."""

    async def claim(self, worker_id: str, count: int, lease_s: float) -> list[JobRecord]:
        """Take up to `count` jobs, at once; none when nothing may start now. Their rows say `running`, with a new attempt."""

    async def wait(self, timeout_s: float) -> None:
        """Return when something may be claimable, or after `timeout_s`; may return early for no reason."""

    async def renew(self, worker_id: str, lease_s: float, job_ids: Collection[str]) -> Collection[str]:
        """Renew the leases of those of `job_ids` that the worker holds, and return them. The others it has lost.

        What it holds without knowing is not renewed: a claim whose answer was lost, an end that could not be written.
        """

    async def give_back(self, job: JobRecord, *, delay_s: float, outcome: str, message: str | None) -> bool:
        """Let a claimed job wait again, startable after `delay_s`.

        Args:
            job: As claimed.
            delay_s: For this long it is not handed out.
            outcome: How the attempt ended: `given_back`, `lost`, which counts as a loss, or a status, which counts as a failure.
            message: Why; kept with the attempt.

        Returns:
            False when the worker no longer held it: nothing was changed.
        """

    async def reclaim(self, *, losses: int, workers: Collection[str] = ()) -> Reclaimed:
        """Take back jobs whose leases ran out, and all those of `workers`, which are known to be dead.

        Args:
            losses: A job lost more often than this does not wait again: it is returned as exhausted, still leased to nobody.
            workers: Ids of workers whose leases need not be waited for.
        """

    async def depth(self) -> QueueDepth:
        """Count what waits and what runs."""
