"""The state of a service as Prometheus's gauges, read when they are asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from emberbox.errors import EmberboxError
from emberbox.store.database import now_us
from emberbox.store.tables import deliveries, jobs, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.jobs.service import Service

_log = logging.getLogger(__name__)

FRESH_S = 1.0
"""What was read from the database is good for this long: many scrapers cost no more than one."""
STATES = ("starting", "ready", "draining")


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the database says: jobs by (status, runtime), the oldest one's waiting time, and what is still to be delivered."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    age_s: float = 0.0
    workers: int = 0
    deliveries: int = 0


class Gauges(Collector):
    """Reads a service's state. `refresh` reads the database; `collect` what lies in memory."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._queue = QueueState()
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the queue, unless that was done a moment ago. A failure is logged, and what was read before stays."""
        async with self._reading:
            if time.monotonic() - self._read_at < FRESH_S:
                return
            try:
                self._queue = await read_queue(self._service)
            except EmberboxError as error:
                _log.warning("the queue could not be measured: %s", error, extra={"action": "telemetry.failed"})
            self._read_at = time.monotonic()

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not read a service that is not up yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges of now."""
        yield from self._of_queue()
        yield from self._of_service()
        try:
            yield from self._of_engine()
        except EmberboxError:
            return  # the engine has ended, or not begun

    def _of_queue(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("emberbox_queue_depth", "Jobs that wait, by runtime.", labels=["runtime"])
        running = GaugeMetricFamily("emberbox_jobs_running", "Jobs that run, by runtime.", labels=["runtime"])
        known = set(_runtimes(self._service))
        summed: dict[tuple[str, str], int] = defaultdict(int)
        for (status, runtime), count in self._queue.counts.items():
            summed[status, runtime if runtime in known else "other"] += count
        for (status, runtime), count in sorted(summed.items()):
            (depth if status == "queued" else running).add_metric([runtime], count)
        yield depth
        yield running
        yield GaugeMetricFamily(
            "emberbox_queue_age_seconds", "How long the oldest job that could start has waited; 0 without one.", self._queue.age_s
        )
        yield GaugeMetricFamily("emberbox_workers", "Workers that take jobs from this database.", self._queue.workers)
        yield GaugeMetricFamily(
            "emberbox_webhook_pending", "Webhook deliveries that are still to be made.", self._queue.deliveries
        )

    def _of_service(self) -> Iterator[Metric]:
        service = self._service
        state = GaugeMetricFamily("emberbox_state", "1 for the state that the service is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], 1.0 if service.state == name else 0.0)
        yield state
        yield GaugeMetricFamily("emberbox_disk_free_bytes", "Free space under the data folder.", service.space.free_bytes())

    def _of_engine(self) -> Iterator[Metric]:
        engine = self._service.engine
        driver = engine.driver
        info = GaugeMetricFamily(
            "emberbox_build_info", "Always 1; the labels say what runs.", labels=["version", "accelerator", "vmm"]
        )
        info.add_metric([version("emberbox"), driver.accelerator or "none", driver.version or "none"], 1.0)
        yield info
        yield GaugeMetricFamily("emberbox_machines", "VMs that live: in use, in pools, being made or ended.", engine.machines)
        # By runtime alone: how many sizes there are is for those to say who submit jobs.
        ready = GaugeMetricFamily("emberbox_pool_ready", "VMs that are ready.", labels=["runtime"])
        target = GaugeMetricFamily("emberbox_pool_target", "VMs that should be ready.", labels=["runtime"])
        claims = CounterMetricFamily("emberbox_pool_claims", "VMs that were asked for.", labels=["runtime"])
        misses = CounterMetricFamily("emberbox_pool_misses", "VMs that had to be cloned on demand.", labels=["runtime"])
        failures = CounterMetricFamily("emberbox_pool_failures", "Refills that failed.", labels=["runtime"])
        pools = engine.pools()
        for runtime in sorted({pool.runtime for pool in pools}):
            of_runtime = [pool for pool in pools if pool.runtime == runtime]
            ready.add_metric([runtime], sum(pool.ready for pool in of_runtime))
            target.add_metric([runtime], sum(pool.target for pool in of_runtime))
            claims.add_metric([runtime], sum(pool.claims for pool in of_runtime))
            misses.add_metric([runtime], sum(pool.misses for pool in of_runtime))
            failures.add_metric([runtime], sum(pool.failures for pool in of_runtime))
        yield from (ready, target, claims, misses, failures)


async def read_queue(service: Service) -> QueueState:
    """Read the queue's state from the database. Raises `StoreError`."""
    now = now_us()
    alive = now - int(service.settings.worker.lease_s * 1e6)
    by_status = (
        select(jobs.c.status, jobs.c.runtime, func.count())
        .where(jobs.c.status.in_(("queued", "running")))
        .group_by(jobs.c.status, jobs.c.runtime)
    )
    oldest = select(func.min(jobs.c.available_at)).where(jobs.c.status == "queued")
    living = select(func.count()).select_from(workers).where(workers.c.seen_at >= alive)
    pending = select(func.count()).select_from(deliveries).where(deliveries.c.status == "pending")
    async with service.db.reading() as connection:
        counts = {(status, runtime): n for status, runtime, n in await connection.execute(by_status)}
        since, alive_workers, undelivered = [(await connection.execute(query)).scalar() for query in (oldest, living, pending)]
    return QueueState(counts, 0.0 if since is None else max(0.0, (now - since) / 1e6), alive_workers or 0, undelivered or 0)


def _runtimes(service: Service) -> list[str]:
    return list(service.engine.runtimes.names)
