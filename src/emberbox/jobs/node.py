"""Whether a service is fit to take work, and what it runs on."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from emberbox.errors import EmberboxError, NotReady, ServiceStopping
from emberbox.jobs.gauges import read_queue
from emberbox.schemas.system import Capacity, Driver, Node, Queue, Worker
from emberbox.store.database import now_us
from emberbox.store.tables import jobs, workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.jobs.service import Service

_log = logging.getLogger(__name__)

CHECK_S = 5.0
"""Bound of each check. A part that takes longer to say that it is well is not."""
FRESH_S = 1.0
"""An answer is good for this long: whoever asks often costs no more than who asks seldom."""


class NodeStatus:
    """Looks at a service. One for each service.

    Args:
        service: What is looked at.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._started_us = now_us()
        self._begun = time.monotonic()
        self._checked_at = float("-inf")
        self._failures: dict[str, str] = {}
        self._checking = asyncio.Lock()

    # -- readiness -------------------------------------------------------------------------------------------

    async def check_ready(self) -> dict[str, str]:
        """Look whether new work can be taken.

        Returns:
            `ok` for each part.

        Raises:
            ServiceStopping: The service is about to end.
            NotReady: It is still starting, or a part is not well; the message says which and why.
        """
        if self._service.state == "draining":
            raise ServiceStopping("the service is about to stop and takes no new work")
        if self._service.state != "ready":
            raise NotReady("the service is still starting")
        async with self._checking:
            if time.monotonic() - self._checked_at > FRESH_S:
                self._failures = await self._check_all()
                self._checked_at = time.monotonic()
        if self._failures:
            raise NotReady("; ".join(f"{name}: {message}" for name, message in self._failures.items()))
        return dict.fromkeys(self._checks(), "ok")

    def _checks(self) -> dict[str, Callable[[], Awaitable[object]]]:
        return {"database": self._database, "blobs": self._blobs, "engine": self._engine, "disk": self._disk}

    async def _check_all(self) -> dict[str, str]:
        checks = self._checks()
        messages = await asyncio.gather(*(_failure(name, check) for name, check in checks.items()))
        return {name: message for name, message in zip(checks, messages, strict=True) if message is not None}

    async def _database(self) -> None:
        async with self._service.db.reading() as connection:
            await connection.execute(select(1))

    async def _blobs(self) -> None:
        # Listing what is not there asks the store as a real call would, and moves no bytes.
        async for _ in self._service.blobs.list("readiness"):
            break

    async def _engine(self) -> None:
        self._service.engine.driver  # noqa: B018  raises when the engine has ended
        self._service.engine.machines  # noqa: B018

    async def _disk(self) -> None:
        await asyncio.to_thread(self._service.space.check)

    # -- state -----------------------------------------------------------------------------------------------

    async def read(self) -> Node:
        """Return the state of the node. Raises `StoreError`."""
        service = self._service
        queue = await read_queue(service)
        driver = service.engine.driver
        totals = dict.fromkeys(("queued", "running"), 0)
        for (status, _), count in queue.counts.items():
            totals[status] += count
        return Node(
            version=version("emberbox"),
            state=service.state,
            started_at=_moment(self._started_us),
            uptime_s=round(time.monotonic() - self._begun, 3),
            database="sqlite" if service.db.sqlite else "postgresql",
            driver=Driver(accelerator=driver.accelerator, version=driver.version, reason=driver.reason, mend=driver.mend),
            capacity=await asyncio.to_thread(self._capacity, service.engine.machines),
            queue=Queue(queued=totals["queued"], running=totals["running"], age_s=round(queue.age_s, 3)),
            workers=await self._workers(),
            runtimes=list(service.engine.runtimes.names),
        )

    def _capacity(self, machines: int) -> Capacity:
        settings = self._service.settings
        memory = _memory()
        disk = shutil.disk_usage(settings.data)
        return Capacity(
            machines=machines,
            machines_limit=settings.capacity.machines or None,
            processors=len(os.sched_getaffinity(0)),
            load_1m=round(os.getloadavg()[0], 2),
            memory_total_bytes=memory["MemTotal"],
            memory_available_bytes=memory["MemAvailable"],
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            service_memory_bytes=_resident(),
        )

    async def _workers(self) -> list[Worker]:
        alive = now_us() - int(self._service.settings.worker.lease_s * 1e6)
        running = select(jobs.c.worker_id, func.count()).where(jobs.c.status == "running").group_by(jobs.c.worker_id)
        async with self._service.db.reading() as connection:
            busy = {row[0]: int(row[1]) for row in await connection.execute(running)}
            living = select(workers).where(workers.c.seen_at >= alive).order_by(workers.c.id).limit(1000)
            rows = (await connection.execute(living)).mappings().all()
        own = self._service.worker.id
        return [
            Worker(
                id=row["id"], node=row["node"], concurrency=row["concurrency"], started_at=_moment(row["started_at"]),
                seen_at=_moment(row["seen_at"]), running=busy.get(row["id"], 0), here=row["id"] == own,
            )
            for row in rows
        ]  # fmt: skip


async def _failure(name: str, check: Callable[[], Awaitable[object]]) -> str | None:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except EmberboxError as error:
        message = error.message
    except TimeoutError:
        message = f"did not answer within {CHECK_S:.0f} s"
    else:
        return None
    _log.warning("%s is not well: %s", name, message, extra={"action": "node.not_ready"})
    return message


def _moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)


def _memory() -> dict[str, int]:
    """Read the host's memory (proc_meminfo(5)), in bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 2}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
