"""Jobs for a service that is being broken: submitted without end, and accounted for afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.e2e.services import ServiceProcess

UNDERWAY = 12
"""Jobs that are submitted and not seen to have ended, at any time."""
SETTLE_S = 1800.0
"""How long all jobs may take to end once nothing is broken any more. One that was cut short several times
waits for minutes."""
LONG = 200_000
"""Bytes of output that are more than a service keeps in memory."""
_FOR_NOW = frozenset({429, 500, 502, 503, 504, 507})
_UNHEARD = (httpx.HTTPError, EOFError, FileNotFoundError, TimeoutError)


@dataclass(frozen=True, slots=True)
class JobAccount:
    """One job, from its acceptance to its end.

    Args:
        id: Of the job.
        token: What it was to print.
        job: All that the API tells of it.
        whole: Whether its log is all of what it was to print.
    """

    id: str
    token: str
    job: dict[str, Any]
    whole: bool

    @property
    def status(self) -> str:
        """How it ended."""
        return str(self.job["status"])

    @property
    def outcomes(self) -> list[str]:
        """How each attempt ended."""
        return [str(attempt["outcome"]) for attempt in self.job["attempts"]]

    @property
    def told(self) -> str:
        """How each attempt ended, and why."""
        return ", ".join(f"{attempt['outcome']} ({attempt['message']})" for attempt in self.job["attempts"])


class Load:
    """Submits jobs without end, and remembers what was accepted.

    Args:
        service: Takes them, whenever it lives.
        timeout_s: Their time limit.
    """

    def __init__(self, service: ServiceProcess, *, timeout_s: float = 180.0) -> None:
        self.accepted: dict[str, str] = {}
        self._service = service
        self._timeout_s = timeout_s
        self._sent = 0
        self._stop = asyncio.Event()
        self._unanswered = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Submit while the block runs. At its end each job that was sent has an answer."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._stop.set()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.shield(task)
            finally:
                task.cancel()
                await asyncio.wait({task})

    @property
    def _goes_on(self) -> bool:
        return self._unanswered or not self._stop.is_set()

    async def _run(self) -> None:
        while self._goes_on:
            try:
                async with self._service.client(await self._service.ready()) as client:
                    while self._goes_on:
                        await self._submit(client)
            except _UNHEARD:
                await asyncio.sleep(0.05)

    async def _submit(self, client: httpx.AsyncClient) -> None:
        if not self._unanswered and await self._enough(client):
            await asyncio.sleep(0.05)
            return
        token = f"token-{self._sent}"
        self._unanswered = True
        # Whatever was sent and not answered is sent again under the same name.
        answer = await client.post(
            "/v1/jobs", json=self._job(token), headers={"Idempotency-Key": token}, timeout=30.0
        )
        if answer.status_code in _FOR_NOW:
            await asyncio.sleep(0.2)
            return
        assert answer.status_code in (200, 202), answer.text
        self.accepted[answer.json()["id"]] = token
        self._sent += 1
        self._unanswered = False

    async def _enough(self, client: httpx.AsyncClient) -> bool:
        answer = await client.get("/v1/jobs", params={"limit": 100})
        if answer.status_code in _FOR_NOW:
            return True
        counts = Counter(job["status"] for job in answer.json()["items"])
        return counts["queued"] + counts["running"] >= UNDERWAY

    def _job(self, token: str) -> dict[str, Any]:
        number = self._sent
        if number % 5 == 4:
            code = f"echo {token}; head -c {LONG} /dev/zero | tr '\\0' x; echo kept >kept.txt"
            return {"runtime": "bash", "code": code, "artifacts": ["*.txt"], "timeout_s": self._timeout_s}
        code = f"echo {token}; sleep 0.{number % 4}"
        return {"runtime": "bash", "code": code, "timeout_s": self._timeout_s}

    async def until_one_ended(self) -> None:
        """Wait until a job has succeeded. Raises `TimeoutError` when none does for very long."""
        async with (
            asyncio.timeout(SETTLE_S),
            self._service.client(await self._service.ready()) as client,
        ):
            while not await _some(client, "succeeded"):  # noqa: ASYNC110  another process runs it
                await asyncio.sleep(0.1)

    # -- afterwards -------------------------------------------------------------------------------

    async def settled(self) -> list[JobAccount]:
        """Wait until every job has ended, and return an account of each that the service knows."""
        deadline = time.monotonic() + SETTLE_S
        async with self._service.client(await self._service.ready()) as client:
            for status in ("running", "queued", "running"):
                while await _some(client, status):
                    assert time.monotonic() < deadline, f"some jobs are {status} after {SETTLE_S:g} s"
                    await asyncio.sleep(0.2)
            return [await self._account(client, job_id) for job_id in await _ids(client)]

    async def _account(self, client: httpx.AsyncClient, job_id: str) -> JobAccount:
        token = self.accepted.get(job_id, "")
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
        log = (await client.get(f"/v1/jobs/{job_id}/logs", params={"format": "text"})).text
        wanted = f"{token}\n" + ("x" * LONG if token and int(token.rpartition("-")[2]) % 5 == 4 else "")
        return JobAccount(job_id, token, job, whole=log == wanted)


async def _some(client: httpx.AsyncClient, status: str) -> bool:
    answer = await client.get("/v1/jobs", params={"status": status, "limit": 1})
    answer.raise_for_status()
    return bool(answer.json()["items"])


async def _ids(client: httpx.AsyncClient) -> list[str]:
    found: list[str] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        answer = await client.get("/v1/jobs", params=query)
        answer.raise_for_status()
        page = answer.json()
        found += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]
