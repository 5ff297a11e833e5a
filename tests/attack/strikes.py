"""A service on a host that fails: it is killed, its disk is full, its VMs stop, its database is away.

Each attack runs a service of its own under load, strikes it at random moments, waits until every
job has ended and accounts for all of them::

    report = await kill_service(Place(folder, shared=data_folder), times=30)
    print(report.summary())
    assert not report.faults()

The service has the settings that it has by default, but for those that make an attack short.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.attack.load import Load
from tests.attack.reports import Report
from tests.e2e.conftest import run_entries, vmm_processes
from tests.e2e.services import SERVE, ServiceProcess, service_folder
from tests.integration.postgres import find_programs, running_server
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.postgres import PostgresServer

Strike = Callable[[random.Random], Awaitable[str]]
"""Breaks the service once and mends it; returns what was done."""

DISK_MIB = 128
_LIMIT_S = 180.0
"""The time limit of jobs."""
_STOPPED_LIMIT_S = 15.0
"""The time limit of jobs whose VMs are stopped; 10 s later the host's clock ends such a VM."""
_STOPPED_ENDS = frozenset({("timed_out", "timeout"), ("lost", "vm_lost"), ("failed", "vm_died")})


@dataclass(frozen=True)
class Place:
    """Where an attack runs its service.

    Args:
        folder: Gets the service's data; made if it is not there.
        shared: The data folder whose images and templates are used; None for a service without VMs.
        command: Starts the service, up to its options.
    """

    folder: Path
    shared: Path | None = None
    command: Sequence[str] = SERVE

    def service(self, **settings: str) -> ServiceProcess:
        """Return a service on a new data folder, not yet started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        if self.shared is None:
            data.mkdir()
            # Guests that are processes of the host write there; a VM's disk is not the service's either.
            guests = self.folder.parent / f"{self.folder.name}-guests"
            guests.mkdir(exist_ok=True)
            (data / "host").symlink_to(guests)
        else:
            service_folder(data, self.shared)
        few = {"EMBERBOX_POOL_MAXIMUM": "1", "EMBERBOX_WORKER_DRAIN_S": "5"}
        return ServiceProcess(data, self.command, **few, **settings)


# -- the attacks ---------------------------------------------------------------------------------


async def kill_service(place: Place, times: int, *, seed: int | None = None) -> Report:
    """Kill the service (SIGKILL) at random moments, of its start as well, and start it again each time."""
    service = place.service()

    async def strike(dice: random.Random) -> str:
        up = dice.random() < 0.8
        if up:
            await service.ready()
        after_s = dice.uniform(0, 2.0 if up else 1.0)
        await asyncio.sleep(after_s)
        await service.kill()
        await service.start()
        return f"killed {after_s:.2f} s after {'it was ready' if up else 'its start'}"

    return await _attack(service, Report(what="kill -9 of the service", seed=_seed(seed)), strike, times)


async def fill_disk(place: Place, times: int, *, seed: int | None = None) -> Report:
    """Fill the disk of the service's data folder at random moments, and free it after seconds.

    Only as root: the disk is a file system in memory.
    """
    with _small_disk(place.folder):
        service = place.service(EMBERBOX_RETENTION_FREE_MIB="4")

        async def strike(dice: random.Random) -> str:
            await asyncio.sleep(dice.uniform(0, 2.0))
            full_s = dice.uniform(0.5, 5.0)
            ballast = await asyncio.to_thread(_fill, service.data)
            try:
                await asyncio.sleep(full_s)
                told = await _readiness(service)
            finally:
                ballast.unlink()
            return f"the disk was full for {full_s:.1f} s; {told}"

        return await _attack(service, Report(what="a full disk", seed=_seed(seed)), strike, times)


async def stop_machines(place: Place, times: int, *, seed: int | None = None) -> Report:
    """Stop a VM's VMM (SIGSTOP) at random moments, for good: the service must end it by its own clock."""
    report = Report(what="SIGSTOP of VMs", seed=_seed(seed), own_doing=_STOPPED_ENDS)
    return await _signal_machines(place, report, times, signal.SIGSTOP)


async def kill_machines(place: Place, times: int, *, seed: int | None = None) -> Report:
    """Kill a VM's VMM (SIGKILL) at random moments, as the kernel does for want of the host's memory."""
    report = Report(what="kill -9 of VMs", seed=_seed(seed))
    return await _signal_machines(place, report, times, signal.SIGKILL)


async def take_database_away(place: Place, times: int = 3, *, seed: int | None = None) -> Report:
    """Stop the database at random moments, and start it after seconds. Needs PostgreSQL's programs."""
    programs = find_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    with running_server(programs) as server:
        _create_database(programs, server)
        url = f"postgresql://tests@/attacked?host={server.folder}"
        service = place.service(EMBERBOX_STORE_URL=url)

        async def strike(dice: random.Random) -> str:
            await asyncio.sleep(dice.uniform(0, 3.0))
            away_s = dice.uniform(0.5, 8.0)
            await asyncio.to_thread(server.stop)
            try:
                await asyncio.sleep(away_s)
                told = await _readiness(service)
            finally:
                await asyncio.to_thread(server.start)
            return f"the database was away for {away_s:.1f} s; {told}"

        return await _attack(service, Report(what="a database that is away", seed=_seed(seed)), strike, times)


# -- what they share -----------------------------------------------------------------------------


def _seed(seed: int | None) -> int:
    return secrets.randbelow(1_000_000) if seed is None else seed


async def _attack(
    service: ServiceProcess, report: Report, strike: Strike, times: int, *, timeout_s: float = _LIMIT_S
) -> Report:
    """Strike a service so many times under load; returns the report once all its jobs have ended."""
    sys.stdout.write(f"{report.what}: seed {report.seed}\n")
    dice = random.Random(report.seed)  # noqa: S311
    load = Load(service, timeout_s=timeout_s)
    try:
        await service.start()
        await service.ready()
        async with load.running():
            await load.until_one_ended()  # its template is there: a kill would end its making each time
            for _ in range(times):
                report.did.append(await strike(dice))
            await service.ready()
        report.account(load, await load.settled())
        if (code := await service.stop()) != 0:
            report.left.append(f"the service ended with code {code}")
        report.left += await _left(service.data)
    finally:
        await service.end()
    return report


async def _signal_machines(place: Place, report: Report, times: int, number: signal.Signals) -> Report:
    service = place.service(EMBERBOX_VMM_CLONE_TIMEOUT_S="60")

    async def strike(dice: random.Random) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := sorted(_vmms(service.data))):  # noqa: ASYNC110  nothing tells of a VMM's start
                await asyncio.sleep(0.02)
        pid = dice.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        await asyncio.sleep(dice.uniform(0, 2.0))
        return f"sent {number.name} to VMM {pid}, one of {len(found)}"

    timeout_s = _STOPPED_LIMIT_S if number is signal.SIGSTOP else _LIMIT_S
    return await _attack(service, report, strike, times, timeout_s=timeout_s)


async def _left(data: Path) -> list[str]:
    """Return what of a service's machines is still there, once it had time to go."""
    for _ in range(50):
        found = [f"VMM {pid} lives" for pid in vmm_processes(data)]
        found += [f"{name} is left" for name in run_entries(data)]
        if not found:
            break
        await asyncio.sleep(0.2)
    return found


async def _readiness(service: ServiceProcess) -> str:
    """Return what `/readyz` tells, in short."""
    try:
        async with service.client(await service.ready()) as client:
            answer = await client.get("/readyz", timeout=30.0)
    except httpx.HTTPError as error:
        return f"/readyz: {type(error).__name__}"
    return f"/readyz {answer.status_code}: {answer.json().get('detail', 'ready')}"


def _vmms(data: Path) -> set[int]:
    """Return the pids of the VMMs themselves, without what confines them."""
    found = set()
    for pid in vmm_processes(data):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith(("qemu", "firecracker")):
                found.add(pid)
    return found


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """Put a small file system in memory at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0755", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def _fill(folder: Path) -> Path:
    """Write a file until nothing more fits; returns it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for piece in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(piece)):
                    pass
    return ballast


def _create_database(programs: Path, server: PostgresServer) -> None:
    _run(str(programs / "createdb"), "-h", str(server.folder), "-U", "tests", "attacked")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
