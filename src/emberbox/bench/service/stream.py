"""How long a program's output takes to who follows it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emberbox.bench.samplers.base import BenchError
from emberbox.bench.service.server import serving
from emberbox.bench.statistics import Series

if TYPE_CHECKING:
    from emberbox.bench.service.connection import Connection
    from emberbox.bench.service.server import Server
    from emberbox.config import Settings

ECHO = """
import sys, time
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(b"%s %d\\n" % (line.strip(), time.time_ns()))
    sys.stdout.buffer.flush()
"""
"""Answers each line with itself and the guest's time at which it writes."""
PAUSE_S = 0.05
"""Between two exchanges: longer than output is gathered, so that none waits for the one before."""
EXCHANGE_S = 30.0
WARM = 3
"""Exchanges that do not count."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One line there and back, all in seconds since the epoch.

    Args:
        sent: When it was sent, by the host's clock.
        written: When the program wrote its answer, by the guest's clock.
        logged: When the service took the answer into the log, by the host's clock.
        received: When the follower had its first byte, by the host's clock.
    """

    sent: float
    written: float
    logged: float
    received: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTime:
    """What was found. All in milliseconds.

    Args:
        delay: From the program's write to the follower's first byte, the guest's clock being put
            right by the exchanges.
        uncertainty_ms: By how much `delay` may be wrong in either direction.
        logged: The part of it from the log to the follower: both by the host's clock, so without uncertainty.
        round_trip: The whole exchange: from the client's line through WebSocket and program to the follower.
    """

    delay: Series
    uncertainty_ms: float
    logged: Series
    round_trip: Series

    @property
    def slowest_ms(self) -> float | None:
        """What `delay` is at most, by its median."""
        return None if self.delay.median is None else self.delay.median + self.uncertainty_ms

    @property
    def rows(self) -> list[Series]:
        """All series, the one held against the target first."""
        return [self.delay, self.logged, self.round_trip]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        rows = {series.name: series.to_dict() for series in self.rows}
        return {"unit": "ms", "uncertainty_ms": round(self.uncertainty_ms, 3), **rows}


def evaluate(exchanges: list[Exchange]) -> StreamTime:
    """Put the guest's clock right and return what the exchanges show.

    The answer was written after the line was sent and before it was received. Of all exchanges the
    tightest bounds together say where the guest's clock stands; the middle between them is taken,
    and half of their distance is the uncertainty.

    Args:
        exchanges: At least one, made within so short a time that the clocks do not drift apart.

    Raises:
        BenchError: The bounds contradict each other: a clock was set meanwhile.
    """
    ahead_most = min(one.written - one.sent for one in exchanges)
    ahead_least = max(one.written - one.received for one in exchanges)
    if ahead_least > ahead_most:
        raise BenchError("the guest's clock and the host's drifted apart while they were compared")
    ahead = (ahead_least + ahead_most) / 2
    uncertainty_ms = (ahead_most - ahead_least) / 2 * 1000
    return StreamTime(
        delay=Series(
            name="stream",
            label=f"program's write → follower's first byte (±{uncertainty_ms:.1f})",
            samples=[(one.received - (one.written - ahead)) * 1000 for one in exchanges],
            note="Server-Sent Events; the guest's clock is put right by lines sent there and back",
        ),
        uncertainty_ms=uncertainty_ms,
        logged=Series(
            name="stream_logged",
            label="in the service's log → follower's first byte",
            samples=[(one.received - one.logged) * 1000 for one in exchanges],
        ),
        round_trip=Series(
            name="stream_round_trip",
            label="line to the program by WebSocket → its answer at the follower",
            samples=[(one.received - one.sent) * 1000 for one in exchanges],
        ),
    )


class Follower:
    """Reads the events of a job's log as they come, and notes when."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue()

    def take(self, data: bytes) -> None:
        """Take a piece of the stream."""
        now = time.time()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and b'"stream"' in line:
                self._lines.put_nowait((now, json.loads(line[6:])))

    async def entry(self) -> tuple[float, dict[str, Any]]:
        """Wait for the next piece of output; returns when it came, too. Raises `BenchError`."""
        try:
            async with asyncio.timeout(EXCHANGE_S):
                return await self._lines.get()
        except TimeoutError:
            raise BenchError(f"a follower got nothing for {EXCHANGE_S:g} s") from None


async def measure_stream(settings: Settings, runtime: str, samples: int) -> StreamTime:
    """Talk to a program that answers each line, and follow its log on another connection.

    Raises:
        BenchError: The service did not start, or the program did not answer.
    """
    async with serving(settings, pool_minimum=1, pool_maximum=1) as server:
        connection = await server.connect()
        await server.settle(connection, runtime, 1)
        order = {"runtime": runtime, "code": ECHO, "interactive": True, "timeout_s": 300}
        job = await connection.expect(202, "POST", "/v1/jobs", order)
        follower, following = Follower(), await server.connect()
        path = f"/v1/jobs/{job['id']}/logs?follow=true"
        stream = asyncio.create_task(following.follow(path, follower.take, timeout_s=300), name="follow")
        try:
            return evaluate(await _exchanges(server, job["id"], follower, samples))
        finally:
            await _cancel(connection, job["id"], stream)


async def _cancel(connection: Connection, job_id: str, stream: asyncio.Task[Any]) -> None:
    stream.cancel()
    await asyncio.wait({stream})
    await connection.request("POST", f"/v1/jobs/{job_id}/cancel")


async def _exchanges(server: Server, job_id: str, follower: Follower, samples: int) -> list[Exchange]:
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    address = f"{server.url.replace('http', 'ws', 1)}/v1/jobs/{job_id}/stream"
    headers = {"Authorization": f"Bearer {server.secret}"}
    try:
        async with connect(address, additional_headers=headers, proxy=None, compression=None) as socket:
            exchanges = []
            for number in range(samples + WARM):
                sent = time.time()
                await socket.send(b"%d\n" % number)
                exchanges.append(_exchange(number, sent, *await follower.entry()))
                await asyncio.sleep(PAUSE_S)
            return exchanges[WARM:]
    except (WebSocketException, OSError) as error:
        raise BenchError(f"the WebSocket failed: {error}") from error


def _exchange(number: int, sent: float, received: float, entry: dict[str, Any]) -> Exchange:
    answered, _, written_ns = str(entry["data"]).strip().partition(" ")
    if answered != str(number) or not written_ns.isdecimal():
        raise BenchError(f"line {number} was answered with {entry['data']!r}")
    logged = datetime.fromisoformat(entry["time"]).timestamp()
    return Exchange(sent, int(written_ns) / 1e9, logged, received)
