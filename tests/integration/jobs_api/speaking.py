"""What the tests of jobs share: submitting, and reading Server-Sent Events as a browser does."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fastapi import FastAPI

    from emberbox.api.streaming.followers import Followers
    from tests.integration.conftest import Served

Json = dict[str, Any]


async def submit(client: httpx.AsyncClient, code: str, **options: Any) -> Json:
    """Submit Python code; returns the accepted job."""
    answer = await client.post("/v1/jobs", json={"runtime": "python", "code": code, **options})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def ended(client: httpx.AsyncClient, job_id: str) -> Json:
    """Wait for a job's end and return it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.get(f"/v1/jobs/{job_id}", params={"wait": 180})
            assert answer.status_code == 200, answer.text
            job: Json = answer.json()
            if job["status"] not in ("queued", "running"):
                return job


async def run(client: httpx.AsyncClient, code: str, **options: Any) -> Json:
    """Run Python code to its end."""
    return await ended(client, (await submit(client, code, **options))["id"])


async def until(holds: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait until something holds that nothing tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            now = holds()
            if now if isinstance(now, bool) else await now:
                return
            await asyncio.sleep(0.01)


async def until_running(client: httpx.AsyncClient, job_id: str) -> None:
    """Wait until the program of a job has begun."""

    async def begun() -> bool:
        return (await client.get(f"/v1/jobs/{job_id}")).json()["times"]["started_at"] is not None

    await until(begun)


def problem(answer: httpx.Response, status: int, code: str) -> Json:
    """Check that an answer is this problem document, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    body: Json = answer.json()
    assert body["code"] == code, body
    return body


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    id: str
    data: Json

    @property
    def output(self) -> bytes:
        """The bytes of an `output` event that was asked for in base 64."""
        return base64.b64decode(self.data["data"]) if self.name == "output" else b""


async def events_of(answer: httpx.Response) -> AsyncIterator[Event]:
    """Yield the events of a stream as they come."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line:
            if "data" in fields:
                yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            assert name not in fields
            fields[name] = value


@asynccontextmanager
async def caller(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a served API, with as many connections as it needs."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(
        base_url=served.url, headers=served.headers, timeout=PATIENCE_S, limits=limits
    ) as client:
        yield client


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, job_id: str, last: str | None = None, **params: Any
) -> AsyncIterator[httpx.Response]:
    """Follow a job's log."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with client.stream(
        "GET", f"/v1/jobs/{job_id}/logs", params={"follow": "true", **params}, headers=headers
    ) as answer:
        yield answer


async def followed(
    client: httpx.AsyncClient, job_id: str, last: str | None = None, **params: Any
) -> list[Event]:
    """Follow a job's log to its end."""
    async with following(client, job_id, last, **params) as answer:
        assert answer.status_code == 200, await answer.aread()
        return [event async for event in events_of(answer)]


def followers(app: FastAPI) -> int:
    """Return how many streams are open."""
    places: Followers = app.state.followers
    return places.count


def memory() -> int:
    """Return how many bytes this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
