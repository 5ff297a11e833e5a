"""A service that is measured: `emberbox serve` as a process of its own, on data of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.bench.samplers.base import SETTLE_S, BenchError, ms_since, together
from emberbox.bench.samplers.command import command_line
from emberbox.bench.service.connection import Connection, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from emberbox.config import Settings

START_S = 60.0
STOP_S = 20.0
SLEEP = "import time; time.sleep(1800)"
SHARED = ("images", "templates", "vmm")
"""Folders of the data that the service takes over from the benchmark's."""
GENEROUS = {
    "EMBERBOX_QUOTA_REQUESTS_PER_S": "1000000",
    "EMBERBOX_QUOTA_BURST": "1000000",
    "EMBERBOX_QUOTA_QUEUED_JOBS": "1000000",
    "EMBERBOX_WORKER_DRAIN_S": "0",
}
"""Bounds that are there to hold back callers, which is what the benchmark is; and jobs still
running need not end."""


class Server:
    """A service that runs. Made by `serving`.

    Attributes:
        url: Its address.
        secret: An admin key.
        ready_ms: From the start of its process to its word that it is ready.
    """

    def __init__(self, data: Path, process: asyncio.subprocess.Process) -> None:
        self.data = data
        self.url = ""
        self.secret = ""
        self.ready_ms = 0.0
        self._process = process
        self._connections: list[Connection] = []

    @property
    def pid(self) -> int:
        """The service's process."""
        return self._process.pid

    async def up(self, begun: float) -> None:
        """Wait until it is ready; `begun` is when its process was started, by `time.perf_counter`.

        Raises `BenchError`.
        """
        try:
            async with asyncio.timeout(START_S):
                while not (told := _told(self.data / "service.json")) or told["pid"] != self.pid:
                    if self._process.returncode is not None:
                        raise BenchError(f"the service ended instead of starting: {self.last_words()}")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise BenchError(f"the service was not ready within {START_S:g} s: {self.last_words()}") from None
        self.ready_ms = ms_since(begun)
        self.url = str(told["url"])
        self.secret = (self.data / "admin.key").read_text("utf-8").strip()

    def last_words(self) -> str:
        """Return the end of its log."""
        return (self.data / "service.log").read_text("utf-8", "replace")[-1000:].strip()

    async def connect(self) -> Connection:
        """Open a connection that is closed with the service. Raises `BenchError`."""
        self._connections.append(connection := await connect(self.url, self.secret))
        return connection

    async def at_once(
        self, count: int, connections: int, work: Callable[[Connection], Awaitable[object]]
    ) -> None:
        """Do `work` so many times, on so many connections at once. Raises what it raises."""
        left = iter(range(count))

        async def some() -> None:
            connection = await self.connect()
            for _ in left:
                await work(connection)

        await together(some() for _ in range(connections))

    async def settle(self, connection: Connection, runtime: str, ready: int) -> None:
        """Wait until `ready` VMs are ready and no other lives. Raises `BenchError`."""
        order = {"ready": ready, "wait_s": SETTLE_S}
        changed = await connection.expect(200, "PUT", f"/v1/pools/{runtime}", order)
        deadline = time.monotonic() + SETTLE_S
        while (
            not changed["filled"]
            or (await connection.expect(200, "GET", "/v1/node"))["capacity"]["machines"] > ready
        ):
            if time.monotonic() > deadline:
                raise BenchError(f"the service did not come to rest within {SETTLE_S:g} s")
            await asyncio.sleep(0.02)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the service's database, behind its back; blocks for as long as that takes.

        Raises `BenchError`.
        """
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{self.data / 'service.db'}?mode=ro", uri=True, timeout=10)
            ) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise BenchError(f"the service's database cannot be read: {error}") from error

    async def end(self) -> None:
        """Ask the process to end, and kill it when it does not. Repeating is harmless."""
        for connection in self._connections:
            connection.close()
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except (TimeoutError, asyncio.CancelledError) as error:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            if isinstance(error, asyncio.CancelledError):
                raise


@asynccontextmanager
async def serving(settings: Settings, **values: object) -> AsyncIterator[Server]:
    """Start a service, wait until it is ready, and end it behind the block, whatever happens there.

    Args:
        settings: Whose data folder holds images and templates, and which VMM to use.
        **values: More settings, such as `pool_maximum=1`.

    Raises:
        BenchError: It did not become ready.
    """
    data = await asyncio.to_thread(_folder, settings.data)
    try:
        begun = time.perf_counter()
        with (data / "service.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *_tied(),
                *command_line(),
                "serve",
                "--port",
                "0",
                "--data",
                str(data),
                "--log-level",
                "warning",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(settings, data, values),
            )
        server = Server(data, process)
        try:
            await server.up(begun)
            yield server
        finally:
            await server.end()
    finally:
        await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)


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


def _folder(shared: Path) -> Path:
    """Make a data folder on the same disk as `shared`, with its images and templates."""
    data = Path(tempfile.mkdtemp(prefix="bench-", dir=shared))
    for name in SHARED:
        (shared / name).mkdir(exist_ok=True)
        (data / name).symlink_to(shared / name)
    (data / "config.toml").touch()
    return data


def _tied() -> list[str]:
    """Return what starts a process that is told to end when the benchmark dies without a word."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig=TERM", "--"]


def _environment(settings: Settings, data: Path, values: dict[str, object]) -> dict[str, str]:
    """Return the variables of a service that is set as the engine, and in all else by its defaults."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("EMBERBOX_")}
    own = {
        "EMBERBOX_CONFIG": str(data / "config.toml"),
        "EMBERBOX_VMM_DRIVER": settings.vmm.driver,
        "EMBERBOX_VMM_ACCELERATOR": settings.vmm.accelerator,
        "EMBERBOX_VMM_KVM_KIND": settings.vmm.kvm_kind,
        "EMBERBOX_IMAGES_KERNEL": settings.images.kernel,
        "EMBERBOX_IMAGES_MODULES": settings.images.modules,
        "EMBERBOX_RUNTIMES": ":".join(str(folder) for folder in settings.runtimes),
    }
    return {
        **plain,
        **own,
        **GENEROUS,
        **{f"EMBERBOX_{name.upper()}": str(value) for name, value in values.items()},
    }


def _told(path: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return told
