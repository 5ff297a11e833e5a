"""The whole service, put together: database, blobs, engine, queue, worker, and what looks after them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from emberbox.blobs import open_blobs
from emberbox.errors import EmberboxError, ServiceStopping
from emberbox.ids import is_id, new_id
from emberbox.jobs.artifacts import Artifacts
from emberbox.jobs.contents import Contents
from emberbox.jobs.jobs import Jobs
from emberbox.jobs.live import LiveJobs
from emberbox.jobs.logs import Logs
from emberbox.jobs.node import NodeStatus
from emberbox.jobs.queue.database import DatabaseQueue
from emberbox.jobs.quota import Quotas
from emberbox.jobs.retention import Sweeper
from emberbox.jobs.runner import Runner
from emberbox.jobs.scripts import Scripts
from emberbox.jobs.space import SpaceGuard
from emberbox.jobs.telemetry import Telemetry
from emberbox.jobs.webhooks import Dispatcher, Webhooks
from emberbox.jobs.worker import Worker
from emberbox.sandbox import Engine
from emberbox.store.database import Database, database_url
from emberbox.store.keys import Keys
from emberbox.store.migrate import upgrade
from emberbox.store.usage import Usage
from emberbox.tasks import TaskKeeper, UndoStack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from emberbox.config import Settings
    from emberbox.jobs.finish import Finished
    from emberbox.jobs.queue import JobQueue

_log = logging.getLogger(__name__)

KEYS_FLUSH_S = 5.0
REFRESH_S = 2.0


class Service:
    """Everything behind the API. Use it as `async with Service(settings) as service`.

    The caller holds the data folder for itself (`emberbox.jobs.folder.ServiceFolder`). Entering brings the database forward,
    takes back the jobs that a killed service left, and begins to run jobs.

    Args:
        settings: All settings.
        engine: Runs the jobs; entered and left by the service. None makes one.
    """

    db: Database
    keys: Keys
    contents: Contents
    scripts: Scripts
    artifacts: Artifacts
    jobs: Jobs
    logs: Logs
    queue: JobQueue
    worker: Worker
    webhooks: Webhooks
    dispatcher: Dispatcher
    usage: Usage
    sweeper: Sweeper

    def __init__(self, settings: Settings, engine: Any = None) -> None:
        self.settings = settings
        self.state: Literal["starting", "ready", "draining"] = "starting"
        self.telemetry = Telemetry()
        self.live = LiveJobs()
        self.space = SpaceGuard(settings.data, settings.retention.free_mib)
        self.engine: Engine = engine if engine is not None else Engine(_with_pools(settings))
        self.scratch: Path = settings.data / "scratch"
        self._undo = UndoStack()
        self._keeper = TaskKeeper()
        self.node = NodeStatus(self)

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._undo.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _start(self) -> None:
        self.settings.data.mkdir(parents=True, exist_ok=True)
        # What an earlier service held there is of no use: its attempts are repeated.
        await asyncio.to_thread(shutil.rmtree, self.scratch, ignore_errors=True)
        self.scratch.mkdir(mode=0o700)
        await self._open_stores()
        await self.engine.__aenter__()
        self._undo.push(self.engine.close)
        self._assemble()
        await self.quotas.refresh()
        await self.worker.start()
        self._undo.push(self.worker.stop)
        self._look_after()
        self.telemetry.bind(self)
        if self.state == "starting":
            self.state = "ready"
        _log.info("service started", extra={"action": "service.started", "worker": self.worker.id})

    async def _open_stores(self) -> None:
        store = self.settings.store
        url = database_url(store, self.settings.data)
        await upgrade(url)
        self.db = Database(url, connections=store.connections, synchronous=store.synchronous)
        self._undo.push(self.db.close)
        self.blobs = open_blobs(self.settings.blobs, self.settings.data)
        self._undo.push(self.blobs.close)
        self._undo.push(self._keeper.settle)

    def _assemble(self) -> None:
        settings, db = self.settings, self.db
        self.keys = Keys(db)
        self._undo.push(self.keys.flush)
        self.quotas = Quotas(db, settings.quota)
        self.contents = Contents(db, self.blobs)
        self.scripts = Scripts(db, self.contents, self.engine.runtimes, settings, quota=self.quotas.check_storage)
        self.artifacts = Artifacts(db, self.blobs, settings)
        self.queue = DatabaseQueue(db, self.quotas.bounds)
        self.jobs = Jobs(
            db,
            self.blobs,
            self.queue,
            self.live,
            self.quotas,
            ready=self.check_ready,
            told=self._ended,
            accepted=lambda job: self.telemetry.job_accepted(job.runtime),
        )
        self._undo.push(self.jobs.settle)
        self.logs = Logs(db, self.blobs, self.live)
        self.dispatcher = Dispatcher(db, settings, self.telemetry)
        self.webhooks = Webhooks(db, settings, self.dispatcher)
        self.usage = Usage(db)
        self.sweeper = Sweeper(db, self.blobs, settings, forget=self.jobs.forget)
        self.worker = Worker(
            db, self.queue, Runner(self.engine, self.contents, self.blobs, self.artifacts, self._keeper), self.jobs, self.live,
            self.quotas, settings.worker, concurrency=concurrency(settings), scratch=self.scratch, node=_node(settings.data),
            ended=self._ended, lost=self.telemetry.job_lost,
        )  # fmt: skip

    def _look_after(self) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("sweeper", self.sweeper.run),
            ("webhooks", self.dispatcher.run),
            ("keys", self._flush_keys),
        ]
        tasks = [asyncio.create_task(_lasting(name, run), name=f"service-{name}") for name, run in loops]

        async def stop() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        self._undo.push(stop)

    async def _flush_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_FLUSH_S)
            with contextlib.suppress(EmberboxError):
                await self.keys.flush()

    async def close(self) -> None:
        """Stop: take no new work, let jobs end or hand them back, close everything. Repeating is harmless."""
        self.drain()
        await self._undo.close()

    def drain(self) -> None:
        """Refuse new work from now on. Repeating is harmless."""
        self.state = "draining"

    def let_go(self) -> None:
        """Let those go who follow logs or wait for jobs: the service is about to end. Repeating is harmless."""
        self.live.let_go()

    # -- between the parts -----------------------------------------------------------------------------------

    def check_ready(self) -> None:
        """Raise what speaks against taking new work: `ServiceStopping` or `NoSpace`."""
        if self.state == "draining":
            raise ServiceStopping("the service is stopping; try again in a moment")
        self.space.check()

    def _ended(self, finished: Finished) -> None:
        job = finished.job
        self.telemetry.job_finished(job)
        if job.metrics is not None:
            self.telemetry.attempt(str(job.metrics.get("source", "")))
        if finished.news:
            self.dispatcher.wake()


async def _lasting(name: str, run: Callable[[], Awaitable[object]]) -> NoReturn:
    """Run a loop that never ends, and begin it again when it failed in a way that it did not expect."""
    while True:
        try:
            await run()
        except Exception:
            _log.exception("%s failed; it begins again", name, extra={"action": "service.loop_failed", "loop": name})
        await asyncio.sleep(REFRESH_S)


def concurrency(settings: Settings) -> int:
    """Return how many jobs run at once."""
    return settings.worker.concurrency or 2 * len(os.sched_getaffinity(0))


def _with_pools(settings: Settings) -> Settings:
    """Return the settings for the service's engine: it keeps sandboxes ready, unless pools are set otherwise."""
    if settings.pool.maximum > 0:
        return settings
    return replace(settings, pool=replace(settings.pool, maximum=settings.worker.ready))


def _node(data: Path) -> str:
    """Return the name of this data folder, made at its first use."""
    path = data / "node"
    with contextlib.suppress(FileNotFoundError):
        if is_id(name := path.read_text().strip(), "node"):
            return name
    name = new_id("node")
    path.write_text(f"{name}\n")
    return name
