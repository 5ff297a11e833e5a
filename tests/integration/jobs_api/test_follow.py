"""Following logs as Server-Sent Events, over real connections."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import resource
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.schemas.jobs import Job
from tests.integration.jobs_api.speaking import (
    Event,
    caller,
    ended,
    events_of,
    followed,
    followers,
    following,
    memory,
    problem,
    run,
    submit,
    until,
    until_running,
)
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from fastapi import FastAPI

    from emberbox.config import Settings
    from emberbox.images import Progress
    from emberbox.sandbox import Sandbox
    from tests.integration.conftest import Served

STEADY = """
import sys, time
for n in range(40):
    out = (sys.stdout, sys.stderr)[n % 3 == 0].buffer
    out.write(('ä€😀' * 3 + str(n)).encode()[n % 4:] + b'\\xff'); out.flush(); time.sleep(0.01)
"""
ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


@pytest.fixture
def database_kind() -> str:
    """Following does not depend on the database."""
    return "sqlite"


async def test_a_job_from_its_queue_to_its_end(served: Served) -> None:
    async with caller(served) as client:
        job = await submit(client, "import time\nfor n in range(3): print(n, flush=True); time.sleep(0.05)")
        async with following(client, job["id"]) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-accel-buffering"] == "no"
            events = [event async for event in events_of(answer)]
        assert [e.name for e in events] == ["output"] * (len(events) - 1) + ["end"]
        assert "".join(e.data["data"] for e in events[:-1]) == "0\n1\n2\n"
        assert all(e.data["stream"] == "stdout" and e.data["time"].endswith("Z") for e in events[:-1])
        assert len({e.id for e in events}) == len(events)
        end = Job.model_validate(events[-1].data)
        assert (end.id, end.status, end.stdout) == (job["id"], "succeeded", "0\n1\n2\n")


async def test_what_is_made_ready_first_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, made = served.service.engine, asyncio.Event()
    opened = engine.open_sandbox

    async def open_sandbox(*arguments: Any, progress: Progress, **options: Any) -> Sandbox:
        progress.step("making a template of python at 512 MiB", None)
        await made.wait()
        return await opened(*arguments, **options)

    monkeypatch.setattr(engine, "open_sandbox", open_sandbox)
    async with caller(served) as client:
        job = await submit(client, "print('out')")

        async def told() -> bool:
            found = (await client.get(f"/v1/jobs/{job['id']}")).json()
            return bool(found["progress"] == "making a template of python at 512 MiB")

        await until(told)
        names = []
        async with following(client, job["id"]) as answer:
            async for event in events_of(answer):
                names.append(event.name)
                if event.name == "progress":
                    assert event.data == {"message": "making a template of python at 512 MiB"}
                    made.set()
        assert names == ["progress", "output", "end"]
        assert (await client.get(f"/v1/jobs/{job['id']}")).json()["progress"] is None
        page = (await client.get("/v1/jobs")).json()["items"]
        assert "progress" not in page[0]


async def test_the_opening_says_when_to_come_back(served: Served) -> None:
    async with caller(served) as client:
        job = await submit(client, ECHO, interactive=True)
        async with following(client, job["id"]) as answer:
            assert await anext(answer.aiter_lines()) == "retry: 1000"
        await client.post(f"/v1/jobs/{job['id']}/cancel")


async def test_a_job_that_has_ended(served: Served) -> None:
    async with caller(served) as client:
        job = await run(client, "import sys; print('a'); print('b', file=sys.stderr)")
        events = await followed(client, job["id"])
        assert {e.data.get("stream") for e in events[:-1]} == {"stdout", "stderr"}
        assert events[-1].data["status"] == "succeeded"
        alone = await followed(client, job["id"], stream="stderr")
        assert [e.data["data"] for e in alone[:-1]] == ["b\n"]
        async with following(client, job["id"], events[-1].id) as answer:
            assert answer.status_code == 204
        assert [e.name for e in await followed(client, job["id"], events[-2].id)] == ["end"]
        for last in ("garbage", "1.1", "9.0", "1.99999", "-1.0", "1.0; x"):
            async with following(client, job["id"], last) as answer:
                await answer.aread()
                problem(answer, 422, "invalid_input")


async def test_the_end_of_a_job_that_has_not_ended(served: Served) -> None:
    async with caller(served) as client:
        job = await submit(client, ECHO, interactive=True)
        async with following(client, job["id"], "end") as answer:
            await answer.aread()
            problem(answer, 422, "invalid_input")
        await client.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.mark.parametrize("seed", range(4))
async def test_who_comes_back_misses_and_repeats_nothing(served: Served, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    stream = chance.choice([None, None, "stdout", "stderr"])
    asked = {} if stream is None else {"stream": stream}
    async with caller(served) as client:
        job = (await submit(client, STEADY))["id"]
        events: list[Event] = []
        last: str | None = None
        cuts = 0
        while not events or events[-1].name != "end":
            left = chance.randint(0, 3) if cuts < 30 else 1000
            by_query = last is not None and chance.random() < 0.5
            params: dict[str, Any] = {**asked, "encoding": "base64"} | ({"after": last} if by_query else {})
            async with following(client, job, None if by_query else last, **params) as answer:
                assert answer.status_code == 200
                async for event in events_of(answer):
                    events.append(event)
                    last = event.id
                    left -= 1
                    if left < 0:
                        break
            cuts += 1
        assert cuts >= min(len(events) / 4, 30), "each cut came after at most four events"
        seen = b"".join(event.output for event in events)
        whole = await client.get(f"/v1/jobs/{job}/logs", params={"format": "text", **asked})
        assert seen == whole.content
        assert len({event.id for event in events}) == len(events)


async def test_text_has_whole_characters(served: Served) -> None:
    code = """
import sys, time
for byte in ('ä€😀' * 5).encode():
    sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush(); time.sleep(0.008)
"""
    async with caller(served) as client:
        events = await followed(client, (await submit(client, code))["id"])
        assert "".join(e.data["data"] for e in events[:-1]) == "ä€😀" * 5


async def test_a_cut_in_the_middle_of_an_event(served: Served) -> None:
    """What a reader got of an event that was cut counts for nothing: it comes again, whole."""
    async with caller(served) as client:
        job = await run(
            client, "import time\nfor n in range(5): print('é' * 2000, flush=True); time.sleep(0.02)"
        )
        whole = "".join(e.data["data"] for e in (await followed(client, job["id"]))[:-1])
        for cut in (60, 700, 4100, 9000):
            async with following(client, job["id"]) as answer:
                got = b""
                async for chunk in answer.aiter_raw():
                    got += chunk
                    if len(got) >= cut:
                        break
            blocks = [block for block in got[:cut].split(b"\n\n")[:-1] if b"event: output" in block]
            lines = [dict(line.split(b": ", 1) for line in block.split(b"\n")) for block in blocks]
            seen = "".join(json.loads(line[b"data"])["data"] for line in lines)
            last = lines[-1][b"id"].decode() if lines else None
            rest = await followed(client, job["id"], last)
            assert seen + "".join(e.data["data"] for e in rest[:-1]) == whole


async def test_an_attempt_that_is_repeated(served: Served, service_settings: Settings) -> None:
    async with caller(served) as client:
        flag = service_settings.data / "tried"
        code = f"""
import os, sys
tried = os.path.exists({str(flag)!r})
open({str(flag)!r}, 'w')
print('second' if tried else 'first', flush=True)
sys.exit(0 if tried else 1)
"""
        job = await submit(client, code, retries=1)
        events = await followed(client, job["id"])
        names = [e.name for e in events]
        assert names[-1] == "end"
        assert events[-1].data["attempt"] == 2
        began = names.index("attempt")
        assert events[began].data == {"attempt": 2}
        assert "".join(e.data["data"] for e in events[began + 1 : -1]) == "second\n"
        resumed = await followed(client, job["id"], events[began].id)
        assert [e.data.get("data") for e in resumed[:-1]] == ["second\n"]


async def test_many_followers_of_one_job(served: Served, app: FastAPI) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with caller(served) as client:
            job = (await submit(client, ECHO, interactive=True))["id"]
            await until_running(client, job)
            following_all = [asyncio.create_task(followed(client, job)) for _ in range(200)]
            await until(lambda: followers(app) == 200)
            live = served.service.live.get(job)
            assert live is not None
            for n in range(20):
                await live.write_stdin(f"{n}\n".encode())
                await asyncio.sleep(0.01)
            await live.close_stdin()
            all_events = await asyncio.gather(*following_all)
            expected = "".join(f"{n}\n" for n in range(20))
            assert {"".join(e.data["data"] for e in events[:-1]) for events in all_events} == {expected}
            assert {events[-1].name for events in all_events} == {"end"}
            await until(lambda: followers(app) == 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestAFew:
    """A service that takes two followers."""

    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        return replace(service_settings, server=replace(service_settings.server, followers=2))

    async def test_more_followers_than_there_are_places(self, served: Served, app: FastAPI) -> None:
        async with caller(served) as client:
            job = (await submit(client, ECHO, interactive=True))["id"]
            async with contextlib.AsyncExitStack() as stack:
                for text in ({}, {"format": "text"}):
                    answer = await stack.enter_async_context(following(client, job, **text))
                    assert answer.status_code == 200
                async with following(client, job) as answer:
                    await answer.aread()
                    body = problem(answer, 503, "capacity_exhausted")
                    assert "server.followers" in body["detail"]
                    assert body["retryable"]
            await until(lambda: followers(app) == 0)
            async with following(client, job) as answer:
                assert answer.status_code == 200
            await client.post(f"/v1/jobs/{job}/cancel")


async def test_who_goes_away_is_noticed(served: Served, app: FastAPI) -> None:
    async with caller(served) as client:
        job = (await submit(client, ECHO, interactive=True))["id"]
        await until_running(client, job)
        async with following(client, job):
            assert followers(app) == 1
        await until(lambda: followers(app) == 0)
        assert not served.service.live._watchers
        assert (await client.get(f"/v1/jobs/{job}")).json()["status"] == "running"
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_who_does_not_read_costs_no_memory(served: Served, app: FastAPI) -> None:
    flood = "import sys\nsys.stdin.readline()\nfor n in range(120): sys.stdout.write('x' * 65536)"
    async with caller(served) as client:
        job = (await submit(client, flood, interactive=True))["id"]
        await until_running(client, job)
        idle = [_follow_without_reading(served, job) for _ in range(20)]
        try:
            await until(lambda: followers(app) == 20)
            live = served.service.live.get(job)
            assert live is not None
            before = memory()
            await live.write_stdin(b"go\n")
            await live.close_stdin()
            await ended(client, job)
            await asyncio.sleep(0.3)
            # Twenty times 7.5 MiB would be 150 MiB.
            assert memory() - before < 60 * 1024 * 1024
            assert followers(app) == 20
        finally:
            for connection in idle:
                connection.close()
        await until(lambda: followers(app) == 0)


def _follow_without_reading(served: Served, job: str) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    head = (
        f"GET /v1/jobs/{job}/logs?follow=true HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {served.secret}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


async def test_heartbeats(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.api.streaming.pulse.HEARTBEAT_S", 0.05)
    async with caller(served) as client:
        job = (await submit(client, ECHO, interactive=True))["id"]
        async with following(client, job) as answer:
            lines = answer.aiter_lines()
            seen = [await anext(lines) for _ in range(8)]
        assert seen.count(": heartbeat") >= 2
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_who_takes_nothing_for_long_is_let_go(
    served: Served, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.api.streaming.pulse.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("emberbox.api.streaming.pulse.STALLED_S", 0.3)
    async with caller(served) as client:
        job = await run(client, "import sys\nsys.stdout.write('x' * 8_000_000)")
        connection = _follow_without_reading(served, job["id"])
        with connection:
            await until(lambda: followers(app) == 1)
            await until(lambda: followers(app) == 0)


async def test_text_followed(served: Served) -> None:
    async with caller(served) as client:
        job = (await submit(client, STEADY))["id"]
        async with following(client, job, format="text") as answer:
            seen = b"".join([chunk async for chunk in answer.aiter_bytes()])
        assert seen == (await client.get(f"/v1/jobs/{job}/logs", params={"format": "text"})).content
        async with following(client, job, format="text", timestamps="true") as answer:
            stamped = b"".join([chunk async for chunk in answer.aiter_bytes()])
        whole = await client.get(f"/v1/jobs/{job}/logs", params={"format": "text", "timestamps": "true"})
        assert stamped == whole.content


async def test_output_comes_at_once(served: Served) -> None:
    """Each line comes while the program waits for the next to be asked for."""
    async with caller(served) as client:
        job = (await submit(client, ECHO, interactive=True))["id"]
        await until_running(client, job)
        live = served.service.live.get(job)
        assert live is not None
        async with following(client, job) as answer, asyncio.timeout(PATIENCE_S):
            events = events_of(answer)
            for line in ("one\n", "two\n", "three\n"):
                await live.write_stdin(line.encode())
                assert (await anext(events)).data["data"] == line
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_followers_are_let_go_when_the_service_ends(served: Served) -> None:
    async with caller(served) as client:
        job = (await submit(client, ECHO, interactive=True))["id"]
        await until_running(client, job)
        async with following(client, job) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            served.service.live.release_followers()
            async with asyncio.timeout(PATIENCE_S):
                assert [line async for line in lines if line and not line.startswith(":")] == []


def test_base64_of_events() -> None:
    assert Event("output", "1.1", {"data": base64.b64encode(b"x").decode()}).output == b"x"
