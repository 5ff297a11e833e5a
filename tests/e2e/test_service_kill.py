"""kill -9 of the service at any moment: no accepted job is lost, none succeeds twice, nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emberbox import Engine
from tests.e2e.conftest import run_entries, vmm_processes
from tests.e2e.services import ServiceProcess, service_folder
from tests.patience import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox import Settings
    from emberbox.images import ImageStore

KILLS = 30
UNDERWAY = 12
"""Jobs that are submitted and not seen to have ended, at any time."""


@pytest.fixture
async def killed(
    tmp_path: Path, data_folder: Path, settings: Settings, images: ImageStore
) -> AsyncIterator[ServiceProcess]:
    async with Engine(settings) as engine:
        await engine.template("bash")  # a kill would end its making each time
    service = ServiceProcess(
        service_folder(tmp_path / "data", data_folder),
        # A job may be hit by many kills in a row, and none shall be written off for that.
        EMBERBOX_WORKER_LOSSES="1000",
        EMBERBOX_POOL_MAXIMUM="1",
        EMBERBOX_WORKER_DRAIN_S="5",
    )
    yield service
    await service.end()


class Load:
    """Submits jobs without end, and remembers what was accepted."""

    def __init__(self, service: ServiceProcess) -> None:
        self.accepted: dict[str, str] = {}
        self.sent = 0
        self._service = service

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with self._service.client(await self._service.ready()) as client:
                    await self._submit(client, stop)
            except (httpx.HTTPError, EOFError, FileNotFoundError, TimeoutError):
                await asyncio.sleep(0.05)

    async def _submit(self, client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            counts = Counter(
                job["status"] for job in (await client.get("/v1/jobs", params={"limit": 100})).json()["items"]
            )
            if counts["queued"] + counts["running"] >= UNDERWAY:
                await asyncio.sleep(0.05)
                continue
            token = f"token-{self.sent}"
            answer = await client.post(
                "/v1/jobs", json=_job(self.sent, token), headers={"Idempotency-Key": token}
            )
            assert answer.status_code == 202, answer.text
            # Whatever was sent and not answered is sent again under the same name.
            self.accepted[answer.json()["id"]] = token
            self.sent += 1


def _job(number: int, token: str) -> dict[str, Any]:
    if number % 5 == 4:
        code = f"echo {token}; head -c 200000 /dev/zero | tr '\\0' x; echo kept >kept.txt"
        return {"runtime": "bash", "code": code, "artifacts": ["*.txt"], "timeout_s": 180}
    return {"runtime": "bash", "code": f"echo {token}; sleep 0.{number % 4}", "timeout_s": 180}


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_killed_under_load(killed: ServiceProcess, data_folder: Path) -> None:
    before = vmm_processes(data_folder, killed.data)
    dice = random.Random(3)  # noqa: S311
    load, stop = Load(killed), asyncio.Event()
    await killed.start()
    submitting = asyncio.create_task(load.run(stop))
    try:
        kills = 0
        while kills < KILLS or (kills < 5 * KILLS and len(load.accepted) <= UNDERWAY):
            kills += 1
            if dice.random() < 0.8:
                await killed.ready()
                await asyncio.sleep(dice.uniform(0, 2.0))
            else:
                await asyncio.sleep(dice.uniform(0, 1.0))
            await killed.kill()
            await killed.start()
        await killed.ready()
    finally:
        stop.set()
        await submitting
    url = await killed.ready()
    async with killed.client(url) as client:
        await _all_ended(client)
        await _check(client, load.accepted)
    assert len(load.accepted) > UNDERWAY, "jobs ended between the kills"
    assert await killed.stop() == 0
    _account(killed.data / "service.db", load)
    await _nothing_left(killed.data, data_folder, before)


async def _all_ended(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 600
    for status in ("running", "queued", "running"):
        while (await client.get("/v1/jobs", params={"status": status, "limit": 1})).json()["items"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def _check(client: httpx.AsyncClient, accepted: dict[str, str]) -> None:
    for job_id, token in accepted.items():
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
        assert (job["status"], job["exit_code"]) == ("succeeded", 0), job
        assert job["stdout"].startswith(f"{token}\n")
        log = (await client.get(f"/v1/jobs/{job_id}/logs", params={"format": "text"})).content
        assert len(log) == job["stdout_bytes"] + job["stderr_bytes"]
        assert [attempt["outcome"] for attempt in job["attempts"]].count("succeeded") == 1
        for artifact in job["artifacts"]:
            assert (await client.get(f"/v1/jobs/{job_id}/artifacts/{artifact['id']}")).content == b"kept\n"
        assert len(job["artifacts"]) == (1 if job["stdout_bytes"] > 100_000 else 0)


def _account(database: Path, load: Load) -> None:
    """Find in the rows nothing unasked for, nothing done twice and nothing held by a dead worker."""
    with contextlib.closing(sqlite3.connect(database)) as rows:
        jobs = {row[0] for row in rows.execute("SELECT id FROM jobs")}
        assert set(load.accepted) == jobs, "each row was asked for, and each answer has its row"
        twice = "SELECT job_id FROM attempts WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1"
        assert rows.execute(twice).fetchall() == []
        assert rows.execute("SELECT count(*) FROM results").fetchone()[0] == len(jobs)
        assert rows.execute("SELECT count(*) FROM workers").fetchone()[0] == 0
        lost = rows.execute("SELECT count(*) FROM attempts WHERE outcome = 'lost'").fetchone()[0]
        assert lost > 0, "the kills hit jobs"
        assert rows.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


async def _nothing_left(data: Path, shared: Path, before: set[int]) -> None:
    await until(lambda: vmm_processes(shared, data) <= before and not run_entries(data))
    assert list((data / "scratch").iterdir()) == []
