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

from sqlalchemy import select

from emberbox.errors import EmberboxError, NotReady, ServiceStopping
from emberbox.files.paths import without_folders
from emberbox.model import MIB
from emberbox.sandbox.machines.capacity import machines_mib
from emberbox.schemas.system import Capacity, Driver, Node, Queue, State, Worker
from emberbox.store.database import Database, now_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.blobs import BlobStore
    from emberbox.config import Settings
    from emberbox.sandbox import Engine
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.service.jobs.running.held import HeldEnds
    from emberbox.service.upkeep.space import SpaceGuard
    from emberbox.vmm.base import DriverReport

_log = logging.getLogger(__name__)

CHECK_S = 5.0
"""Bound of each check. A part that takes longer to say that it is well is not."""
FRESH_S = 1.0
"""An answer is good for this long: whoever asks often costs no more than who asks seldom."""


class NodeStatus:
    """Looks at a service. One for each service.

    Args:
        db: The database.
        blobs: The blob store.
        queue: Whose depth and workers are told.
        engine: What jobs run on.
        space: Looks at the disk.
        held: Tells of ends that could not be written.
        settings: The data folder, capacity, and the workers' leases.
        state: Returns the service's state: `starting`, `ready` or `draining`.
        worker_id: Of the worker of this process.
    """

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        queue: JobQueue,
        engine: Engine,
        space: SpaceGuard,
        held: HeldEnds,
        settings: Settings,
        *,
        state: Callable[[], State],
        worker_id: str,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._queue = queue
        self._engine = engine
        self._space = space
        self._held = held
        self._settings = settings
        self._state = state
        self._worker_id = worker_id
        self._started_us = now_us()
        self._begun = time.monotonic()
        self._checked_at = float("-inf")
        self._failures: dict[str, str] = {}
        self._checking = asyncio.Lock()

    # -- readiness --------------------------------------------------------------------------------

    async def check_ready(self) -> dict[str, str]:
        """Look whether new work can be taken.

        Returns:
            `ok` for each part.

        Raises:
            ServiceStopping: The service is about to end.
            NotReady: It is still starting, or a part is not well; the message says which, and its detail
                why.
        """
        if self._state() == "draining":
            raise ServiceStopping("the service is about to stop and takes no new work")
        if self._state() != "ready":
            raise NotReady("the service is still starting")
        async with self._checking:
            if time.monotonic() - self._checked_at > FRESH_S:
                self._failures = await self._check_all()
                self._checked_at = time.monotonic()
        if self._failures:
            raise NotReady(
                f"not well: {', '.join(self._failures)}; ask with a key that has the scope operator for why",
                detail="; ".join(f"{name}: {message}" for name, message in self._failures.items()),
            )
        return dict.fromkeys(self._checks(), "ok")

    def _checks(self) -> dict[str, Callable[[], Awaitable[object]]]:
        return {
            "database": self._check_database,
            "blobs": self._check_blobs,
            "engine": self._check_engine,
            "disk": self._check_disk,
            "ends": self._held.check,
        }

    async def _check_all(self) -> dict[str, str]:
        checks = self._checks()
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(_failure(name, check)) for name, check in checks.items()}
        return {name: message for name, task in tasks.items() if (message := task.result()) is not None}

    async def _check_database(self) -> None:
        # Unlike other questions, this one is given up where the database hangs.
        async with self._db.reading() as connection:
            await connection.execute(select(1))

    async def _check_blobs(self) -> None:
        # Listing what is not there asks the store as a real call would, and moves no bytes.
        async for _ in self._blobs.list("readiness"):
            break

    async def _check_engine(self) -> None:
        self._engine.driver  # noqa: B018  raises when the engine has ended
        self._engine.machines  # noqa: B018

    async def _check_disk(self) -> None:
        await asyncio.to_thread(self._space.check)

    # -- state ------------------------------------------------------------------------------------

    async def read(self) -> Node:
        """Return the state of the node. Raises `StoreError`."""
        depth = await self._queue.depth()
        driver, machines = self._engine.driver, self._engine.machines
        return Node(
            version=version("emberbox"),
            state=self._state(),
            started_at=_moment(self._started_us),
            uptime_s=round(time.monotonic() - self._begun, 3),
            database="sqlite" if self._db.sqlite else "postgresql",
            driver=_driver(driver),
            capacity=await asyncio.to_thread(self._capacity, machines, self._engine.committed_mib),
            queue=Queue(queued=depth.queued, running=depth.running, age_s=round(depth.oldest_s, 3)),
            workers=await self._workers(),
            runtimes=list(self._engine.runtimes.names),
        )

    def _capacity(self, machines: int, committed_mib: int) -> Capacity:
        settings = self._settings
        memory = _memory()
        disk = shutil.disk_usage(settings.data)
        return Capacity(
            machines=machines,
            machines_limit=settings.capacity.machines or None,
            machines_memory_bytes=committed_mib * MIB,
            machines_memory_limit_bytes=machines_mib(settings) * MIB,
            processors=len(os.sched_getaffinity(0)),
            load_1m=round(os.getloadavg()[0], 2),
            memory_total_bytes=memory["MemTotal"],
            memory_available_bytes=memory["MemAvailable"],
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            service_memory_bytes=_resident(),
        )

    async def _workers(self) -> list[Worker]:
        return [
            Worker(
                id=worker.id,
                node=worker.node,
                concurrency=worker.concurrency,
                started_at=_moment(worker.started_at),
                seen_at=_moment(worker.seen_at),
                running=worker.running,
                here=worker.id == self._worker_id,
            )
            for worker in await self._queue.workers.living(self._settings.worker.lease_s)
        ]


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


def _driver(report: DriverReport) -> Driver:
    """Return what may be told of the driver: not where things lie on the host."""
    mend = report.mend
    if mend is not None and without_folders(mend) != mend:
        mend = "emberbox doctor"
    return Driver(
        accelerator=report.accelerator,
        version=report.version,
        reason=without_folders(report.reason),
        mend=mend,
    )


def _moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)


def _memory() -> dict[str, int]:
    """Read the host's memory (proc_meminfo(5)), in bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 2}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
