"""Waiting, and lists that page by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from emberbox.errors import ServerUnreachable
from tests.unit.client.conftest import job_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.client import AsyncClient


async def test_run_goes_on_waiting(connect: Callable[..., AsyncClient], pauses: list[float]) -> None:
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        ended = len(requests) == 4
        return httpx.Response(
            200 if ended else 202,
            json=job_values(status="succeeded" if ended else "running", stdout="x" * ended),
        )

    job = await connect(server).run("1", runtime="python")
    assert (job.ok, job.stdout) == (True, "x")
    assert [request.method for request in requests] == ["POST", "GET", "GET", "GET"]
    assert all(float(request.url.params["wait"]) > 0 for request in requests)
    assert len(pauses) == 2, "a server that answers at once is not asked again at once"


async def test_waiting_without_time_asks_once(
    connect: Callable[..., AsyncClient], pauses: list[float]
) -> None:
    job = await connect(lambda request: httpx.Response(200, json=job_values(status="queued"))).jobs.wait(
        "job_01", timeout_s=0
    )
    assert (job.status, pauses) == ("queued", [])


@pytest.mark.parametrize(
    ("limit", "fetched"), [(None, [100, 100, 100]), (150, [100, 50]), (100, [100]), (1, [1]), (0, [])]
)
async def test_pages(connect: Callable[..., AsyncClient], limit: int | None, fetched: list[int]) -> None:
    sizes: list[int] = []

    def server(request: httpx.Request) -> httpx.Response:
        start, size = int(request.url.params.get("cursor", 0)), int(request.url.params["limit"])
        sizes.append(size)
        items = [job_values(id=f"job_{number}") for number in range(start, min(start + size, 250))]
        return httpx.Response(
            200, json={"items": items, "next_cursor": str(start + size) if start + size < 250 else None}
        )

    ids = [job.id async for job in connect(server).jobs.list(limit=limit)]
    assert ids == [f"job_{number}" for number in range(min(250, 250 if limit is None else limit))]
    assert sizes == fetched


async def test_a_list_fetches_no_more_than_is_read(connect: Callable[..., AsyncClient]) -> None:
    count = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return httpx.Response(200, json={"items": [job_values()], "next_cursor": "more"})

    async for _ in connect(server).jobs.list():
        break
    assert count == 1


async def test_waiting_outlives_a_restart(connect: Callable[..., AsyncClient]) -> None:
    tries = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        if tries < 6:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=job_values())

    assert (await connect(server, retries=0).jobs.wait("job_01")).ok
    tries = -1000
    with pytest.raises(ServerUnreachable):
        await connect(server, retries=0).jobs.wait("job_01")
    assert tries == -1000 + 9
