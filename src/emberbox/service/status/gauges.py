"""The state of a service as Prometheus's gauges, read when they are asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from emberbox.errors import EmberboxError
from emberbox.model import MIB
from emberbox.service.jobs.queue.base import JobQueue, QueueDepth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from emberbox.sandbox import Engine
    from emberbox.sandbox.machines.standby import StandbyStatus
    from emberbox.sandbox.templates.pool import PoolStatus
    from emberbox.service.jobs.running.held import HeldEnds
    from emberbox.service.upkeep.space import SpaceGuard

_log = logging.getLogger(__name__)

FRESH_S = 1.0
"""What was read from the database is good for this long: many scrapers cost no more than one."""
STATES = ("starting", "ready", "draining")


class Gauges(Collector):
    """Reads a service's state. `refresh` reads the database; `collect` what lies in memory.

    Args:
        queue: Whose depth and workers are told.
        engine: Whose machines and pools are told.
        space: Looks at the disk.
        held: Counts the ends that could not be written.
        state: Returns the service's state, one of `STATES`.
        pending: Counts the deliveries that are still to be made.
        alive_s: A worker that was seen within so many seconds lives.
    """

    def __init__(
        self,
        queue: JobQueue,
        engine: Engine,
        space: SpaceGuard,
        held: HeldEnds,
        *,
        state: Callable[[], str],
        pending: Callable[[], Awaitable[int]],
        alive_s: float,
    ) -> None:
        self._queue = queue
        self._engine = engine
        self._space = space
        self._held = held
        self._state = state
        self._count_pending = pending
        self._alive_s = alive_s
        self._depth = QueueDepth()
        self._workers = self._pending = 0
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the queue, unless that was done a moment ago.

        A failure is logged, and what was read before stays.
        """
        async with self._reading:
            if time.monotonic() - self._read_at < FRESH_S:
                return
            try:
                self._depth = await self._queue.depth()
                self._workers = await self._queue.workers.count(self._alive_s)
                self._pending = await self._count_pending()
            except EmberboxError as error:
                _log.warning(
                    "the queue could not be measured: %s", error, extra={"action": "telemetry.failed"}
                )
            self._read_at = time.monotonic()

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not read a service that is not up yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges of now."""
        yield from self._of_queue()
        yield from self._of_service()
        # The engine may have ended, or not begun.
        with contextlib.suppress(EmberboxError):
            yield from self._of_engine()

    def _of_queue(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("emberbox_queue_depth", "Jobs that wait, by runtime.", labels=["runtime"])
        running = GaugeMetricFamily("emberbox_jobs_running", "Jobs that run, by runtime.", labels=["runtime"])
        known = set(self._engine.runtimes.names)
        summed: dict[tuple[str, str], int] = defaultdict(int)
        for (status, runtime), count in self._depth.counts.items():
            summed[status, runtime if runtime in known else "other"] += count
        for (status, runtime), count in sorted(summed.items()):
            (depth if status == "queued" else running).add_metric([runtime], count)
        yield depth
        yield running
        yield GaugeMetricFamily(
            "emberbox_queue_age_seconds",
            "How long the oldest job that could start has waited; 0 without one.",
            self._depth.oldest_s,
        )
        yield GaugeMetricFamily(
            "emberbox_workers", "Workers that take jobs from this database.", self._workers
        )
        yield GaugeMetricFamily(
            "emberbox_webhook_pending",
            "Webhook deliveries that are still to be made.",
            self._pending,
        )

    def _of_service(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "emberbox_state", "1 for the state that the service is in.", labels=["state"]
        )
        for name in STATES:
            state.add_metric([name], float(self._state() == name))
        yield state
        yield GaugeMetricFamily(
            "emberbox_disk_free_bytes", "Free space under the data folder.", self._space.free_bytes()
        )
        yield GaugeMetricFamily(
            "emberbox_ends_held", "Jobs that have ended and wait to be written down.", len(self._held)
        )

    def _of_engine(self) -> Iterator[Metric]:
        engine = self._engine
        driver = engine.driver
        info = GaugeMetricFamily(
            "emberbox_build_info",
            "Always 1; the labels say what runs.",
            labels=["version", "accelerator", "vmm"],
        )
        info.add_metric([version("emberbox"), driver.accelerator or "none", driver.version or "none"], 1.0)
        yield info
        yield GaugeMetricFamily(
            "emberbox_machines",
            "VMs that live: in use, in pools, being made or ended, waiting for a guest.",
            engine.machines,
        )
        yield GaugeMetricFamily(
            "emberbox_machines_memory_bytes",
            "Memory that the VMs that live may come to use, of capacity.memory_mib.",
            engine.committed_mib * MIB,
        )
        yield from _of_standbys(engine.standbys())
        yield from _of_pools(engine.pools())


def _of_pools(pools: Sequence[PoolStatus]) -> Iterator[Metric]:
    # By runtime alone: how many sizes there are is for those to say who submit jobs.
    runtimes = sorted({pool.runtime for pool in pools})
    for kind, name, text in _POOL_METRICS:
        metric = kind(f"emberbox_pool_{name}", text, labels=["runtime"])
        for runtime in runtimes:
            values = (getattr(pool, name) for pool in pools if pool.runtime == runtime)
            metric.add_metric([runtime], sum(values))
        yield metric


_POOL_METRICS = (
    (GaugeMetricFamily, "ready", "VMs that are ready."),
    (GaugeMetricFamily, "target", "VMs that should be ready."),
    (CounterMetricFamily, "claims", "VMs that were asked for."),
    (CounterMetricFamily, "misses", "VMs that had to be cloned on demand."),
    (CounterMetricFamily, "failures", "Refills that failed."),
)


def _of_standbys(standbys: StandbyStatus) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "emberbox_standbys", "VMMs that were started ahead of time and wait for a guest.", standbys.ready
    )
    for name, text in (
        ("started", "VMMs that were started ahead of time."),
        ("used", "VMMs that were started ahead of time and became VMs."),
        ("lost", "VMMs that ended while they waited for a guest."),
        ("failures", "VMMs that could not be started ahead of time."),
    ):
        yield CounterMetricFamily(f"emberbox_standbys_{name}", text, getattr(standbys, name))
