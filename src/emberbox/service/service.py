"""The whole service, put together: database, blobs, engine, queue, worker, and what looks after them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from typing import TYPE_CHECKING, Any, NoReturn, Self

from emberbox.blobs import open_blobs
from emberbox.errors import EmberboxError, ServiceStopping
from emberbox.ids import is_id, new_id
from emberbox.sandbox import Engine
from emberbox.sandbox.machines.capacity import largest_guest_mib
from emberbox.service.accounts.keys import Keys
from emberbox.service.accounts.quota import Quotas
from emberbox.service.accounts.reservations import Reservations
from emberbox.service.accounts.teams import Teams
from emberbox.service.accounts.usage import Usage
from emberbox.service.jobs.jobs import Jobs
from emberbox.service.jobs.logs.reading import Logs
from emberbox.service.jobs.queue.database import DatabaseQueue
from emberbox.service.jobs.revoking import Revocations
from emberbox.service.jobs.running.artifacts import Artifacts
from emberbox.service.jobs.running.endings import Endings
from emberbox.service.jobs.running.held import HeldEnds
from emberbox.service.jobs.running.live import LiveJobs
from emberbox.service.jobs.running.runner import Runner
from emberbox.service.jobs.running.worker import Worker
from emberbox.service.jobs.submitting.orders import Orders
from emberbox.service.jobs.submitting.submission import Submission
from emberbox.service.jobs.waiting import JobWaits
from emberbox.service.secrets.changing import begin
from emberbox.service.secrets.source import key_source
from emberbox.service.secrets.vault import Vault
from emberbox.service.status.gauges import Gauges
from emberbox.service.status.node import NodeStatus
from emberbox.service.status.telemetry import Telemetry
from emberbox.service.upkeep.retention import Sweeper
from emberbox.service.upkeep.space import SpaceGuard
from emberbox.service.uploads.contents import Contents
from emberbox.service.uploads.heavy import HeavyTurns
from emberbox.service.uploads.scripts import Scripts
from emberbox.service.webhooks.dispatcher import Dispatcher
from emberbox.service.webhooks.registry import Webhooks
from emberbox.store.database import Database, database_url
from emberbox.store.migrate import upgrade
from emberbox.tasks import TaskKeeper, UndoStack, undone_on_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.schemas.system import State
    from emberbox.service.jobs.queue.base import JobQueue
    from emberbox.store.records import JobRecord

_log = logging.getLogger(__name__)

KEYS_FLUSH_S = 5.0
REFRESH_S = 2.0


class Service:
    """Everything behind the API. Use it as `async with Service(settings) as service`.

    The caller holds the data folder for itself (`emberbox.service.folder.ServiceFolder`). Entering
    brings the database forward, takes back the jobs that a killed service left, and begins to run
    jobs.

    Args:
        settings: All settings.
        engine: Runs the jobs; entered and left by the service. None makes one.
    """

    queue: JobQueue

    def __init__(self, settings: Settings, engine: Any = None) -> None:
        self.settings = settings
        self.state: State = "starting"
        self.telemetry = Telemetry()
        self.live = LiveJobs()
        self.space = SpaceGuard(settings.data, settings.retention.free_mib)
        self.engine: Engine = engine if engine is not None else Engine(settings)
        self.scratch: Path = settings.data / "scratch"
        self._undo = UndoStack()
        self._closings = TaskKeeper()
        self._loops = TaskKeeper()

    # -- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with undone_on_failure(self._undo.close):
            await self._start()
        return self

    async def __aexit__(self, *error: object) -> None:
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
        if self.state == "starting":
            self.state = "ready"
        _log.info("service started", extra={"action": "service.started", "worker": self.worker.id})

    async def _open_stores(self) -> None:
        store = self.settings.store
        url = database_url(store, self.settings.data)
        await upgrade(url)
        self.db = Database(url, connections=store.connections, synchronous=store.synchronous)
        self._undo.push(self.db.close)
        keys = key_source(self.settings.secrets, self.settings.data)
        self.vault = Vault(keys)
        await begin(self.db, keys, self.vault)
        self.blobs = open_blobs(self.settings.blobs, self.settings.data)
        self._undo.push(self.blobs.close)
        self._undo.push(self._closings.settle)

    def _assemble(self) -> None:
        self._assemble_accounts()
        self._assemble_uploads()
        self._assemble_jobs()
        self._assemble_worker()
        self.sweeper = Sweeper(self.db, self.blobs, self.settings, forget=self.live.recent.clear)
        self._assemble_status()

    def _assemble_accounts(self) -> None:
        self.keys = Keys(self.db)
        self._undo.push(self.keys.flush)
        self.teams = Teams(self.db, self.keys.forget)
        places = concurrency(self.settings)
        self.quotas = Quotas(self.db, self.settings.quota, self.settings.ceiling, places=places)
        self.reservations = Reservations(self.db, self.space.reserve)
        self.usage = Usage(self.db)
        self.dispatcher = Dispatcher(self.db, self.settings, self.vault, self.telemetry.delivery)
        self.webhooks = Webhooks(self.db, self.settings, self.vault, self.dispatcher.wake)

    def _assemble_uploads(self) -> None:
        self.heavy = HeavyTurns()
        self.contents = Contents(self.db, self.blobs)
        self.scripts = Scripts(
            self.db, self.contents, self.engine.runtimes, quotas=self.quotas, reservations=self.reservations
        )

    def _assemble_jobs(self) -> None:
        db, settings = self.db, self.settings
        self.artifacts = Artifacts(db, self.blobs, settings)
        self.queue = DatabaseQueue(db, self.quotas.bounds)
        self.endings = Endings(db, self.queue, self.live, ended=self._ended)
        self.held = HeldEnds(settings.worker.hold_s)
        self.jobs = Jobs(db, self.blobs, self.queue, self.endings, self.held, self.live, self.contents)
        self.revocations = Revocations(self.keys, self.queue, self.endings, self.live, self._closings)
        self.waits = JobWaits(self.jobs.find, self.live, longest_s=settings.server.wait_s)
        self.logs = Logs(db, self.blobs, self.live)
        self.orders = Orders(
            self.engine.runtimes,
            settings.jobs,
            largest_guest_mib(settings),
            self.contents,
            self.scripts,
            check_url=self.webhooks.check_url,
        )
        self.submission = Submission(
            db,
            self.queue,
            self.quotas,
            self.contents,
            self.reservations,
            self.vault,
            self.heavy,
            check_ready=self.check_ready,
            accepted=self._accepted,
        )
        self._undo.push(self.submission.settle)

    def _assemble_worker(self) -> None:
        self.worker = Worker(
            new_id("worker"),
            self.queue,
            Runner(
                self.engine,
                self.contents,
                self.blobs,
                self.artifacts,
                self.held,
                self.vault,
                self._closings,
            ),
            self.endings,
            self.held,
            self.live,
            self.quotas,
            lambda job: self.reservations.begin(self.quotas.shares_of_job(job, "storage_bytes")),
            self.settings.worker,
            repeated=self.telemetry.job_repeated,
            concurrency=concurrency(self.settings),
            scratch=self.scratch,
            node=_node(self.settings.data),
        )

    def _assemble_status(self) -> None:
        self.node = NodeStatus(
            self.db,
            self.blobs,
            self.queue,
            self.engine,
            self.space,
            self.held,
            self.settings,
            state=lambda: self.state,
            worker_id=self.worker.id,
        )
        self.telemetry.show(
            Gauges(
                self.queue,
                self.engine,
                self.space,
                self.held,
                state=lambda: self.state,
                pending=self.dispatcher.pending,
                alive_s=self.settings.worker.lease_s,
            )
        )

    def _look_after(self) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("sweeper", self.sweeper.run),
            ("webhooks", self.dispatcher.run),
            ("keys", self._flush_keys),
            ("key-watch", self.keys.watch.run),
            ("secrets", self.vault.run),
        ]
        for name, run in loops:
            self._loops.start(_lasting(name, run), f"service-{name}")
        self._undo.push(self._loops.cancel)

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

    # -- between the parts ------------------------------------------------------------------------

    def check_ready(self) -> None:
        """Raise what speaks against taking new work: `ServiceStopping` or `NoSpace`."""
        if self.state == "draining":
            raise ServiceStopping("the service is stopping; try again in a moment")
        self.space.check()

    def _accepted(self, job: JobRecord) -> None:
        self.waits.expect(job.id)
        self.telemetry.job_accepted(job.runtime)

    def _ended(self, job: JobRecord, news: int) -> None:
        self.telemetry.job_finished(job)
        if news:
            self.dispatcher.wake()


async def _lasting(name: str, run: Callable[[], Awaitable[object]]) -> NoReturn:
    """Run a loop that never ends, and begin it again when it failed in a way that it did not expect."""
    while True:
        try:
            await run()
        except Exception:
            _log.exception(
                "%s failed; it begins again", name, extra={"action": "service.loop_failed", "loop": name}
            )
        await asyncio.sleep(REFRESH_S)


def concurrency(settings: Settings) -> int:
    """Return how many jobs run at once."""
    return settings.worker.concurrency or 2 * len(os.sched_getaffinity(0))


def _node(data: Path) -> str:
    """Return the name of this data folder, made at its first use."""
    path = data / "node"
    with contextlib.suppress(FileNotFoundError):
        if is_id(name := path.read_text().strip(), "node"):
            return name
    name = new_id("node")
    path.write_text(f"{name}\n")
    return name
