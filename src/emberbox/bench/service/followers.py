"""Many who follow one log at once."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emberbox.bench.processes import cpu_ms, rss_mib, watching_rss
from emberbox.bench.samplers.base import SETTLE_S, BenchError, together
from emberbox.bench.service.server import serving
from emberbox.bench.statistics import Summary, rounded

if TYPE_CHECKING:
    from emberbox.bench.service.server import Server
    from emberbox.config import Settings

LINES = 1000
SECONDS = 2.0
ATTACH_S = 3.0
"""The program waits until its followers are there. Who comes later gets all of the output, too."""
BOUND_S = 120.0
PROGRAM = f"""
import time
time.sleep({ATTACH_S})
for number in range({LINES}):
    print(f"line {{number}} " + "x" * 50, flush=True)
    time.sleep({SECONDS} / {LINES})
"""
LAST = f"line {LINES - 1} "


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What was found.

    Args:
        followers: How many there were.
        complete: How many got every byte of the output, and the end.
        output_bytes: Bytes that the program wrote.
        last_ms: When each follower had the last line, in milliseconds behind the first of them that had it.
        wall_s: From the first follower's first line to the last one's end.
        cpu_ms: Processor time of the service's process meanwhile.
        rss_before: Its resident memory in MiB before the followers came.
        rss_maximum: The most while they followed.
        rss_after: What it had when they had gone.
        failures: What went wrong.
    """

    followers: int
    complete: int
    output_bytes: int
    last_ms: list[float]
    wall_s: float
    cpu_ms: float
    rss_before: float
    rss_maximum: float
    rss_after: float
    failures: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        last, rss = None, {"before": self.rss_before, "maximum": self.rss_maximum, "after": self.rss_after}
        if self.last_ms:
            summary = Summary.of(self.last_ms)
            last = {"median": summary.median, "p95": summary.p95, "maximum": summary.maximum}
        return {
            "followers": self.followers,
            "complete": self.complete,
            "output_bytes": self.output_bytes,
            "last_line_ms": rounded(last, 2),
            "wall_s": rounded(self.wall_s, 2),
            "cpu_ms": rounded(self.cpu_ms, 1),
            "rss_mib": rounded(rss, 1),
            "failures": self.failures,
        }


class Reader:
    """One follower: hashes what it is sent, so that all can be compared at little cost."""

    def __init__(self) -> None:
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.ended = False
        self._rest = b""
        self._output = hashlib.sha256()
        self.received = 0

    def take(self, data: bytes) -> None:
        """Take a piece of the stream."""
        now = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"event: "):
                self.ended = line == b"event: end"
            elif line.startswith(b"data: ") and not self.ended:
                self._output_event(json.loads(line[6:])["data"], now)

    def _output_event(self, text: str, now: float) -> None:
        self.first_at = now if self.first_at is None else self.first_at
        self._output.update(text.encode())
        self.received += len(text.encode())
        if self.last_at is None and LAST in text:
            self.last_at = now

    @property
    def digest(self) -> str:
        """Hash of the output so far."""
        return self._output.hexdigest()


async def measure_followers(settings: Settings, runtime: str, count: int) -> Following:
    """Let `count` connections follow one job that writes for some seconds.

    Raises:
        BenchError: The service did not start, or the job could not be followed at all.
    """
    async with serving(settings, pool_minimum=1, pool_maximum=1) as server:
        connection = await server.connect()
        await server.settle(connection, runtime, 1)
        before = rss_mib(server.pid)
        order = {"runtime": runtime, "code": PROGRAM, "timeout_s": 100}
        job = (await connection.expect(202, "POST", "/v1/jobs", order))["id"]
        readers = [Reader() for _ in range(count)]
        failures: list[str] = []
        used = cpu_ms(server.pid)
        async with watching_rss(server.pid, 0.1) as rss:
            await together(_follow(server, job, reader, failures) for reader in readers)
        ended = time.perf_counter()
        used = cpu_ms(server.pid) - used
        await connection.expect(200, "GET", f"/v1/jobs/{job}?wait={SETTLE_S:g}")
        whole = await connection.request("GET", f"/v1/jobs/{job}/logs?format=text")
        digest = hashlib.sha256(whole.body).hexdigest()
        if (lines := whole.body.count(b"\n")) != LINES:
            raise BenchError(f"the program wrote {lines} lines instead of {LINES}; status {whole.status}")
        firsts = [reader.first_at for reader in readers if reader.first_at is not None]
        lasts = [reader.last_at for reader in readers if reader.last_at is not None]
        return Following(
            followers=count,
            complete=sum(reader.ended and reader.digest == digest for reader in readers),
            output_bytes=len(whole.body),
            last_ms=[(last - min(lasts)) * 1000 for last in lasts],
            wall_s=ended - min(firsts, default=ended),
            cpu_ms=used,
            rss_before=before,
            rss_maximum=max(rss),
            rss_after=rss[-1],
            failures=failures,
        )


async def _follow(server: Server, job: str, reader: Reader, failures: list[str]) -> None:
    try:
        connection = await server.connect()
        answer = await connection.follow(f"/v1/jobs/{job}/logs?follow=true", reader.take, timeout_s=BOUND_S)
        connection.close()
    except BenchError as error:
        failures.append(str(error))
    else:
        if answer.status != 200:
            failures.append(f"a follower was answered with {answer.status}")
