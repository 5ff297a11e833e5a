"""Runs many short jobs through a service on real VMs and looks at what they leave behind.

Usage: python scripts/soak.py [--jobs 10000] [--data FOLDER] [--at-once 6] [--json]

A service of its own is started, with the images and templates of FOLDER (the usual data folder by default) and short retention.
Processes, descriptors, threads, folders of machines, rows and memory are counted before and after; the exit code is 1 when more
is left than there was.
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
        "memory_mib": int(status.partition("VmRSS:")[2].split()[0]) / 1024,
    }


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


async def load(client: AsyncClient, count: int, at_once: int) -> None:
    """Run `count` jobs, `at_once` at a time."""
    left = iter(range(count))
    begun = time.monotonic()

    async def one_after_another() -> None:
        for number in left:
            job = await client.run(f"echo {number}", runtime="bash")
            if job.stdout != f"{number}\n":
                raise AssertionError(f"{job.id}: {job.status} {job.message} {job.stdout!r}")
            if number % 500 == 499:
                print(f"{number + 1} jobs, {(number + 1) / (time.monotonic() - begun):.1f} a second", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())


async def soak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run it all and return the counts before and after."""
    shared = load_settings(data=options.data).data
    async with Engine(data=shared) as engine:
        await engine.template("bash")
    for name in ("images", "templates", "vmm"):
        (folder / name).symlink_to(shared / name)
    command = [sys.executable, "-m", "emberbox.cli.main", "serve", "--port", "0", "--data", str(folder), "--log-level", "warning"]
    service = await asyncio.create_subprocess_exec(*command, env={**os.environ, **RETENTION}, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(SETTLE_S):
            while not (folder / "service.json").exists():  # noqa: ASYNC110  another process makes it
                await asyncio.sleep(0.05)
        url = json.loads((folder / "service.json").read_text())["url"]
        async with AsyncClient(url, (folder / "admin.key").read_text().strip()) as client:
            await load(client, min(WARM, options.jobs), options.at_once)
            before = await settled(service.pid, folder)
            begun = time.monotonic()
            await load(client, options.jobs, options.at_once)
            took_s = time.monotonic() - begun
            after = await settled(service.pid, folder)
    finally:
        if service.returncode is None:
            service.send_signal(signal.SIGTERM)
        await service.wait()
    return {"jobs": options.jobs, "took_s": round(took_s, 1), "before": before, "after": after}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=6)
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
    left += ["memory_mib"] if more["memory_mib"] > MEMORY_MIB else []
    if options.json:
        print(json.dumps({**found, "left": left}))
    else:
        print(f"{found['jobs']} jobs in {found['took_s']} s, {found['jobs'] / found['took_s']:.1f} a second")
        for name in found["after"]:
            print(f"  {name:12} {found['before'][name]:8.0f} before {found['after'][name]:8.0f} after")
        print("nothing is left behind" if not left else f"LEFT BEHIND: {', '.join(left)}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
