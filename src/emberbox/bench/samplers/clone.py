"""Clones of the warm template: made for the call, or ready in a pool."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import HELLO, BenchError, checked, ms_since, settle
from emberbox.config import PoolSettings
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.model import RunMetrics

REFILL_S = 60.0


class Clone:
    """From the call to the result, the VM cloned for it.

    Attributes:
        metrics: What the engine said about each sample.
    """

    name = "clone"
    label = "clone from the snapshot, no pool"
    note = "the template is open; from the call of Engine.run to its result"

    def __init__(self, engine: Engine, runtime: str) -> None:
        self._engine = engine
        self._runtime = runtime
        self.metrics: list[RunMetrics] = []

    async def open(self) -> None:
        """Clone once."""
        await self.sample()
        self.metrics.clear()

    async def sample(self) -> float:
        """Clone and run once, in milliseconds."""
        begun = time.perf_counter()
        result = await self._engine.run(HELLO, runtime=self._runtime)
        elapsed_ms = ms_since(begun)
        await settle(self._engine)
        self.metrics.append(checked(result).metrics)
        return elapsed_ms

    async def close(self) -> None:
        """Nothing to do: the engine belongs to the caller."""


class PoolClaim:
    """From the call to the result, the VM ready in a pool.

    The pool holds one VM and is full before each sample. Its refill begins with the claim, as it
    does in use, and goes on beside the program: at most one clone is made while a sample is taken.

    Attributes:
        rests: What was not the program, of each sample.
    """

    name = "pool"
    label = "claim from a primed pool"
    note = "pool of one, full before each sample; the refill starts when the claimed VM has ended, as in use"

    def __init__(self, settings: Settings, runtime: str) -> None:
        self._engine = Engine(replace(settings, pool=PoolSettings(minimum=1, maximum=1)))
        self._runtime = runtime
        self.rests: list[float] = []

    async def open(self) -> None:
        """Start an engine with a pool and claim once."""
        await self._engine.__aenter__()
        await self.sample()
        self.rests.clear()

    async def sample(self) -> float:
        """Claim and run once, in milliseconds, then wait until the pool is full again."""
        await self._full()
        begun = time.perf_counter()
        result = await self._engine.run(HELLO, runtime=self._runtime)
        elapsed_ms = ms_since(begun)
        await self._full()
        metrics = checked(result).metrics
        if metrics.source != "pool":
            raise BenchError("the pool was empty")
        self.rests.append(elapsed_ms - metrics.queue_ms - metrics.boot_ms - metrics.run_ms)
        return elapsed_ms

    async def _full(self) -> None:
        if not await self._engine.warm_pool(self._runtime, 1, timeout_s=REFILL_S):
            raise BenchError(f"the pool was not full within {REFILL_S:g} s")
        await settle(self._engine, 1)

    async def close(self) -> None:
        """End the engine and its pool."""
        await self._engine.close()
