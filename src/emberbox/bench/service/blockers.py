"""Jobs that take up all places of a service's worker, so that others wait until they are told to go."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import SETTLE_S, BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.bench.service.connection import Connection

SLEEP = "import time; time.sleep(1800)"


@asynccontextmanager
async def blocked(connection: Connection, runtime: str, places: int) -> AsyncIterator[None]:
    """Take up all `places` of the worker while the block runs; at its end they are free.

    Raises `BenchError`.
    """
    order = {"runtime": runtime, "code": SLEEP, "timeout_s": 1800}
    jobs = [(await connection.expect(202, "POST", "/v1/jobs", order))["id"] for _ in range(places)]
    try:
        deadline = time.monotonic() + SETTLE_S
        for job in jobs:
            while (await connection.expect(200, "GET", f"/v1/jobs/{job}"))["times"]["started_at"] is None:
                if time.monotonic() > deadline:
                    raise BenchError(f"jobs that only sleep did not start within {SETTLE_S:g} s")
                await asyncio.sleep(0.05)
        yield
    finally:
        for job in jobs:
            await connection.request("POST", f"/v1/jobs/{job}/cancel")
