"""Many short jobs in a row leave the service as it was: descriptors, tasks, processes, files, rows, memory.

`make soak` has a service run ten thousand on real VMs.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from emberbox.store.tables import artifacts, attempts, deliveries, idempotency, jobs, results

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.service.service import Service
    from tests.integration.jobs.conftest import Caller

WARM = 1_100
"""More than the caches remember: they are full afterwards."""
JOBS = 500
ROUNDS = 3
"""What earlier tests left may be freed or grow in one of them."""
MOST = {"descriptors": 4, "tasks": 2, "children": 0, "files": 2, "rows": 0, "live": 0}
AT_ONCE = 8


class TestRows:
    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        retention = replace(service_settings.retention, jobs_s=10, logs_s=10, idempotency_s=10, sweep_s=0.5)
        return replace(service_settings, retention=retention)

    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("database_kind", ["sqlite"])
    async def test_they_leave_nothing(self, service: Service, caller: Caller) -> None:
        await _run(caller, WARM)
        before = await _held(service)
        grown = before
        for _ in range(ROUNDS):
            await _run(caller, JOBS)
            start, grown = grown, await _held(service)
            # Of Python's memory: an object that each job leaves is more than one of them, in each round.
            if grown["blocks"] <= start["blocks"] + JOBS:
                break
        else:
            raise AssertionError(f"memory grows with the jobs: {before} {grown}")
        for name, most in MOST.items():
            assert grown[name] <= before[name] + most, (name, before, grown)


async def _run(caller: Caller, count: int) -> None:
    left = iter(range(count))

    async def one_after_another() -> None:
        for number in left:
            job = await caller.run(f"echo {number}", idempotency=(f"n{number}", "hash"))
            assert (job.status, await caller.stdout(job)) == ("succeeded", f"{number}\n")

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


async def _held(service: Service) -> dict[str, int]:
    """Count what is held, once the sweeper has been there and sandboxes have ended."""
    for _ in range(900):
        await service.sweeper.sweep()
        if await _rows(service) == 0 and service.engine.machines == 0:
            break
        await asyncio.sleep(0.2)
    gc.collect()
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "tasks": len(asyncio.all_tasks()),
        "children": sum(
            len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir()
        ),
        "files": sum(1 for path in service.settings.data.rglob("*") if path.is_file()),
        "rows": await _rows(service),
        "live": len(service.live) + service.engine.machines,
        "blocks": sys.getallocatedblocks(),
    }


async def _rows(service: Service) -> int:
    count = 0
    async with service.db.reading() as connection:
        for table in (jobs, results, attempts, artifacts, idempotency, deliveries):
            count += (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return count
