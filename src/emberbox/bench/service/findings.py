"""What was found about the service, and its targets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from emberbox.bench.targets import Target

if TYPE_CHECKING:
    from emberbox.bench.service.added import ServiceTime
    from emberbox.bench.service.drain import Drain
    from emberbox.bench.service.followers import Following
    from emberbox.bench.service.idle import Idle
    from emberbox.bench.service.stream import StreamTime
    from emberbox.bench.service.submit import Submission

ADDED_MS = 10.0
STREAM_MS = 10.0
DRAIN_SHARE = 0.9
DRAIN_GROWTH_MIB = 10.0
"""What counts as flat: jobs leave a cache of recent ends behind, and nothing that grows with their number."""
SUBMITTED_PER_SECOND = 300.0
FOLLOWERS = 200
IDLE_MIB = 120.0


@dataclass(slots=True, kw_only=True)
class ServiceFindings:
    """Letters k to p; each is None when it was not measured."""

    service: ServiceTime | None = None
    stream: StreamTime | None = None
    drain: Drain | None = None
    submit: Submission | None = None
    followers: Following | None = None
    idle: Idle | None = None

    @property
    def targets(self) -> list[Target]:
        """The service's targets, held against this."""
        service, stream, drain = self.service, self.stream, self.drain
        submit, following, idle = self.submit, self.followers, self.idle
        return [
            Target(
                name="k: added by the service, p50",
                measured=None if service is None else service.added_ms,
                bound=ADDED_MS,
                unit="ms",
            ),
            Target(
                name="l: write → follower, p50 and its uncertainty",
                measured=None if stream is None else stream.slowest_ms,
                bound=STREAM_MS,
                unit="ms",
            ),
            Target(
                name="m: drain ÷ engine alone",
                measured=None if drain is None else drain.share,
                bound=DRAIN_SHARE,
                at_least=True,
            ),
            Target(
                name="m: growth of memory while it drains",
                measured=None if drain is None else drain.growth_mib,
                bound=DRAIN_GROWTH_MIB,
                unit="MiB",
            ),
            Target(
                name="n: submitted, median window",
                measured=None if submit is None else submit.waiting.median,
                bound=SUBMITTED_PER_SECOND,
                unit="jobs/s",
                at_least=True,
            ),
            Target(
                name="n: accepted jobs that are missing",
                measured=None if submit is None else submit.missing,
                bound=0,
                unit="jobs",
            ),
            Target(
                name="o: followers that got all of it",
                measured=None if following is None else following.complete,
                bound=FOLLOWERS if following is None else following.followers,
                at_least=True,
            ),
            Target(
                name="p: idle memory, RSS, the larger",
                measured=None if idle is None else max(idle.fresh.rss, idle.used.rss),
                bound=IDLE_MIB,
                unit="MiB",
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; null for what was not measured."""
        parts = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: None if part is None else part.to_dict() for name, part in parts.items()}
