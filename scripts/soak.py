"""Runs many short jobs through a service on real VMs and looks at what they leave behind.

Usage: python scripts/soak.py [--jobs 10000] [--runtime python] [--data FOLDER] [--at-once 8] [--json]

A service of its own is started, with the images and templates of FOLDER (the usual data folder by
default) and short retention. Processes, descriptors, threads, folders of machines, rows and memory
are counted before and after, and memory all along. The exit code is 1 when more is left than there
was, when memory still grows at the end, or when a VM hung: the service ends such a VM by its own
clock and runs the job again, so it is a job's second attempt that tells of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from emberbox import Engine, load_settings
from emberbox.client import AsyncClient

WARM = 100
"""Jobs that come before the first count: caches and pools fill up."""
SETTLE_S = 90.0
RETENTION = {
    "EMBERBOX_RETENTION_JOBS_S": "5",
    "EMBERBOX_RETENTION_LOGS_S": "5",
    "EMBERBOX_RETENTION_IDEMPOTENCY_S": "5",
    "EMBERBOX_RETENTION_SWEEP_S": "2",
}
ROOMS = {"processes": 4, "descriptors": 6, "threads": 2, "folders": 8, "rows": 0, "scratch": 0}
"""How much more may be there afterwards: a pool refills while it is counted."""
MEMORY_MIB = 24.0
"""How much memory may grow in all: caches fill up to their bounds."""
LATE_MEMORY_MIB = 3.0
"""How much more it may be in the last quarter of the jobs than in the second, where there are
enough of them to tell."""
SAMPLE_JOBS = 250
"""Jobs between two looks at the memory."""


def children(pid: int) -> int:
    """Count a process's descendants; those that end meanwhile may count or not."""
    found = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += sum(1 + children(int(child)) for child in children_of(task))
    return found


def children_of(task: Path) -> list[str]:
    """Return the process ids of a thread's children; none when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (task / "children").read_text().split()
    return []


def counts(pid: int, data: Path) -> dict[str, float]:
    """Count what a service holds."""
    process = Path(f"/proc/{pid}")
    with closing(sqlite3.connect(data / "service.db", timeout=30)) as db:
        rows = sum(
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("jobs", "results", "attempts", "artifacts", "idempotency", "deliveries")
        )
    status = (process / "status").read_text()
    return {
        "processes": children(pid),
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "folders": sum(1 for _ in (data / "run").rglob("*")),
        "scratch": len(list((data / "scratch").iterdir())),
        "rows": rows,
        "memory_mib": memory_mib(status),
    }


def memory_mib(status: str) -> float:
    """Return the resident memory that a process's status file tells of."""
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Tally:
    """What is seen while the jobs run.

    Attributes:
        memory_mib: The service's resident memory, every `SAMPLE_JOBS` jobs.
        hung: Jobs whose first VM was lost.
    """

    def __init__(self, pid: int) -> None:
        self.memory_mib: list[float] = []
        self.hung: list[str] = []
        self._status = Path(f"/proc/{pid}/status")
        self._begun = time.monotonic()
        self._done = 0

    def add(self, job: Any) -> None:
        """Take note of a job that has ended."""
        self._done += 1
        if job.attempt > 1:
            self.hung.append(job.id)
            print(f"{job.id} took {job.attempt} attempts", file=sys.stderr, flush=True)
        if self._done % SAMPLE_JOBS == 0:
            self.memory_mib.append(round(memory_mib(self._status.read_text()), 1))
            rate = self._done / (time.monotonic() - self._begun)
            print(
                f"{self._done} jobs, {rate:.1f} a second, {self.memory_mib[-1]} MiB",
                file=sys.stderr,
                flush=True,
            )

    @property
    def late_growth_mib(self) -> float:
        """Tell how much memory grew from the second quarter to the last; 0 after too few looks."""
        quarter = len(self.memory_mib) // 4
        if quarter < 2:
            return 0.0
        second, last = self.memory_mib[quarter : 2 * quarter], self.memory_mib[-quarter:]
        return round(sum(last) / quarter - sum(second) / quarter, 2)


async def settled(pid: int, data: Path) -> dict[str, float]:
    """Count once nothing changes any more, and retention has done its work."""
    deadline = time.monotonic() + SETTLE_S
    before: dict[str, float] = {}
    while True:
        now = counts(pid, data)
        steady = all(now[name] == before.get(name) for name in ROOMS)
        if (steady and now["rows"] == 0) or time.monotonic() > deadline:
            return now
        before = now
        await asyncio.sleep(3)


CODE = {"bash": "echo {}", "python": "print({})"}


async def load(client: AsyncClient, count: int, options: argparse.Namespace, tally: Tally) -> None:
    """Run `count` jobs, `options.at_once` at a time."""
    left = iter(range(count))

    async def one_after_another() -> None:
        for number in left:
            job = await client.run(CODE[options.runtime].format(number), runtime=options.runtime)
            if job.stdout != f"{number}\n":
                raise AssertionError(f"{job.id}: {job.status} {job.message} {job.stdout!r}")
            tally.add(job)

    async with asyncio.TaskGroup() as group:
        for _ in range(options.at_once):
            group.create_task(one_after_another())


async def soak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run it all and return the counts before and after."""
    shared = load_settings(data=options.data).data
    async with Engine(data=shared) as engine:
        await engine.template(options.runtime)
    for name in ("images", "templates", "vmm"):
        (folder / name).symlink_to(shared / name)
    command = [sys.executable, "-m", "emberbox.cli.main", "serve", "--port", "0"]
    command += ["--data", str(folder), "--log-level", "warning"]
    service = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **RETENTION}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(SETTLE_S):
            while not (folder / "service.json").exists():  # noqa: ASYNC110  another process makes it
                await asyncio.sleep(0.05)
        url = json.loads((folder / "service.json").read_text())["url"]
        async with AsyncClient(url, (folder / "admin.key").read_text().strip()) as client:
            await load(client, min(WARM, options.jobs), options, Tally(service.pid))
            before = await settled(service.pid, folder)
            begun, tally = time.monotonic(), Tally(service.pid)
            await load(client, options.jobs, options, tally)
            took_s = time.monotonic() - begun
            after = await settled(service.pid, folder)
    finally:
        if service.returncode is None:
            service.send_signal(signal.SIGTERM)
        await service.wait()
    seen = {"hung": tally.hung, "memory_mib": tally.memory_mib, "late_growth_mib": tally.late_growth_mib}
    return {"jobs": options.jobs, "took_s": round(took_s, 1), **seen, "before": before, "after": after}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--runtime", choices=sorted(CODE), default="python")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="emberbox-soak-"))
    folder.chmod(0o711)  # the VMMs' own users must get through
    try:
        found = asyncio.run(soak(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    more = {name: found["after"][name] - found["before"][name] for name in found["after"]}
    left = [name for name, room in ROOMS.items() if more[name] > room]
    left += (
        ["memory_mib"]
        if more["memory_mib"] > MEMORY_MIB or found["late_growth_mib"] > LATE_MEMORY_MIB
        else []
    )
    left += ["hung VMs"] if found["hung"] else []
    if options.json:
        print(json.dumps({**found, "left": left}))
    else:
        print(f"{found['jobs']} jobs in {found['took_s']} s, {found['jobs'] / found['took_s']:.1f} a second")
        for name in found["after"]:
            print(f"  {name:12} {found['before'][name]:8.0f} before {found['after'][name]:8.0f} after")
        print(f"  memory in MiB, every {SAMPLE_JOBS} jobs: {' '.join(map(str, found['memory_mib']))}")
        print(
            f"  {len(found['hung'])} VMs hung; memory grew by {found['late_growth_mib']} MiB from second to "
            "last quarter"
        )
        print("nothing is left behind" if not left else f"LEFT BEHIND: {', '.join(left)}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
