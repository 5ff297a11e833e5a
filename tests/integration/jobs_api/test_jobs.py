"""Jobs through the API: from their submission to their deletion."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emberbox.api.views import shown
from emberbox.schemas.base import Page
from emberbox.schemas.jobs import Attempt, Job
from tests.integration.jobs_api.speaking import caller, ended, problem, run, submit, until, until_running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fastapi import FastAPI

    from emberbox.service.service import Service
    from tests.integration.conftest import Served

SLEEP = "import time; print('slept', flush=True); time.sleep(60)"


async def test_submit_and_wait(app_client: httpx.AsyncClient) -> None:
    body = {
        "runtime": "python",
        "code": "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)",
        "name": "n",
    }
    answer = await app_client.post(
        "/v1/jobs", params={"wait": 180}, json={**body, "labels": {"a": "b"}, "env": {"SECRET": "hidden"}}
    )
    assert answer.status_code == 200
    job = Job.model_validate(answer.json())
    assert (job.status, job.reason, job.exit_code, job.attempt) == ("failed", "exited", 3, 1)
    assert (job.stdout, job.stderr, job.stdout_truncated) == ("out\n", "err\n", False)
    assert (job.name, job.labels, job.env_names) == ("n", {"a": "b"}, ["SECRET"])
    assert "hidden" not in answer.text
    times = job.times
    assert times.claimed_at and times.started_at and times.ended_at and times.finished_at
    assert times.created_at <= times.claimed_at <= times.started_at <= times.ended_at <= times.finished_at
    assert [a.outcome for a in job.attempts or []] == ["failed"]
    assert job.artifacts == []
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"


@pytest.mark.parametrize(
    "options",
    [
        *({"memory_mib": memory_mib} for memory_mib in (0, 64, 95, 65_537)),
        *({"vcpus": vcpus} for vcpus in (0, 33)),
        *({"disk_mib": disk_mib} for disk_mib in (0, 65_537, 300)),
        {"pids": 32_769},
        {"timeout_s": 86_401},
        {"args": ["x" * 1000] * 100},
    ],
    ids=str,
)
async def test_what_the_engine_would_refuse_is_refused_at_once(
    app_client: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    body = {"runtime": "python", "code": "print()", "memory_mib": 256, **options}
    answer = await app_client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    assert (await app_client.get("/v1/jobs")).json()["items"] == []


async def test_a_job_shows_the_size_that_it_got(app_client: httpx.AsyncClient) -> None:
    body = {"runtime": "python", "code": "print()", "memory_mib": 300, "vcpus": 3}
    answer = await app_client.post("/v1/jobs", params={"wait": 180}, json=body)
    limits = answer.json()["limits"]
    assert (limits["memory_mib"], limits["vcpus"]) == (384, 4)


@pytest.mark.parametrize(
    ("code", "options", "outcomes"),
    [
        ("print()", {}, ["succeeded"]),
        ("1/0", {}, ["failed"]),
        ("1/0", {"retries": 1}, ["failed", "failed"]),
        (SLEEP, {"timeout_s": 0.3}, ["timed_out"]),
    ],
)
async def test_attempts_are_shown_as_they_are_stored(
    app_client: httpx.AsyncClient, service: Service, code: str, options: dict[str, Any], outcomes: list[str]
) -> None:
    job = Job.model_validate(await run(app_client, code, **options))
    stored = await service.jobs.attempts(job.id)
    assert [attempt.outcome for attempt in stored] == outcomes
    assert job.attempts == [shown(Attempt, attempt) for attempt in stored]


async def test_submit_does_not_wait_by_itself(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.post("/v1/jobs", json={"runtime": "python", "code": SLEEP})
    assert answer.status_code == 202
    assert answer.json()["status"] in ("queued", "running")
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert "idempotency-replayed" not in answer.headers


async def test_waiting_ends_when_its_time_is_over(app_client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    answer = await app_client.post(
        "/v1/jobs", params={"wait": 0.2}, json={"runtime": "python", "code": SLEEP}
    )
    assert answer.status_code == 202
    assert time.monotonic() - began >= 0.2
    job = answer.json()
    assert job["status"] in ("queued", "running")
    assert job["stdout"] is None
    assert (await app_client.get(f"/v1/jobs/{job['id']}", params={"wait": 0.1})).json()["status"] in (
        "queued",
        "running",
    )


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", "1e9"])
async def test_a_wait_that_is_none(app_client: httpx.AsyncClient, wait: str) -> None:
    answer = await app_client.post(
        "/v1/jobs", params={"wait": wait}, json={"runtime": "python", "code": "print()"}
    )
    assert "wait" in problem(answer, 422, "invalid_input")["detail"]
    assert (await app_client.get("/v1/jobs")).json()["items"] == []


async def test_run_a_script_with_and_without_a_body(app_client: httpx.AsyncClient) -> None:
    files = {"file": ("hello.py", b"import sys; print('hello', *sys.argv[1:])")}
    script = (await app_client.post("/v1/scripts", files=files)).json()
    plain = await app_client.post(f"/v1/scripts/{script['id']}/run", params={"wait": 180})
    assert (plain.status_code, plain.json()["stdout"]) == (200, "hello\n")
    assert plain.json()["script_id"] == script["id"]
    more = await app_client.post(
        f"/v1/scripts/{script['id']}/run", params={"wait": 180}, json={"args": ["you"]}
    )
    assert more.json()["stdout"] == "hello you\n"
    accepted = await app_client.post(f"/v1/scripts/{script['id']}/run", json={})
    assert accepted.status_code == 202
    assert (await ended(app_client, accepted.json()["id"]))["status"] == "succeeded"
    problem(await app_client.post("/v1/scripts/script_nonsense/run"), 404, "not_found")


async def test_list_by_pages_and_filters(app_client: httpx.AsyncClient) -> None:
    made = [
        (await submit(app_client, f"print({n})", labels={"n": str(n), "all": "x:y"}))["id"] for n in range(5)
    ]
    for job_id in made:
        await ended(app_client, job_id)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = Page[Job].model_validate((await app_client.get("/v1/jobs", params=params)).json())
        seen += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == made[::-1]

    async def listed(**params: str) -> list[str]:
        return [job["id"] for job in (await app_client.get("/v1/jobs", params=params)).json()["items"]]

    assert await listed(label="n:3") == [made[3]]
    assert await listed(label="all:x:y") == seen
    assert await listed(label="n:") == []
    assert await listed(status="succeeded") == seen
    assert await listed(status="queued") == []
    assert await listed(runtime="python") == seen
    assert await listed(runtime="bash") == []
    assert await listed(script_id="script_x") == []
    for wrong in (
        {"label": "nocolon"},
        {"status": "odd"},
        {"limit": "0"},
        {"limit": "1000"},
        {"cursor": "x"},
    ):
        problem(await app_client.get("/v1/jobs", params=wrong), 422, "invalid_input")


async def test_cancel_queued_and_running(app_client: httpx.AsyncClient) -> None:
    running = await submit(app_client, SLEEP)
    await until_running(app_client, running["id"])
    answer = await app_client.post(f"/v1/jobs/{running['id']}/cancel")
    assert answer.status_code == 200
    assert (await ended(app_client, running["id"]))["status"] == "cancelled"
    assert (await app_client.post(f"/v1/jobs/{running['id']}/cancel")).status_code == 200
    done = await run(app_client, "print(1)")
    problem(await app_client.post(f"/v1/jobs/{done['id']}/cancel"), 409, "conflict")


async def test_rerun(app_client: httpx.AsyncClient) -> None:
    first = await run(
        app_client,
        "import sys; print(sys.stdin.read(), sys.argv[1])",
        stdin="in",
        args=["x"],
        labels={"l": "1"},
    )
    answer = await app_client.post(f"/v1/jobs/{first['id']}/rerun")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    second = await ended(app_client, answer.json()["id"])
    assert second["id"] != first["id"]
    assert (second["rerun_of"], second["stdout"], second["labels"]) == (first["id"], "in x\n", {"l": "1"})


async def test_delete(app_client: httpx.AsyncClient) -> None:
    running = await submit(app_client, SLEEP)
    problem(await app_client.delete(f"/v1/jobs/{running['id']}"), 409, "conflict")
    await app_client.post(f"/v1/jobs/{running['id']}/cancel")
    await ended(app_client, running["id"])
    answer = await app_client.delete(f"/v1/jobs/{running['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    for again in (
        app_client.get(f"/v1/jobs/{running['id']}"),
        app_client.delete(f"/v1/jobs/{running['id']}"),
    ):
        problem(await again, 404, "not_found")


async def test_idempotency(app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]]) -> None:
    body = {"runtime": "python", "code": "print(1)", "env": {"A": "1", "B": "2"}}
    headers = {"Idempotency-Key": "once only, please"}
    first = await app_client.post("/v1/jobs", json=body, headers=headers)
    assert "idempotency-replayed" not in first.headers
    swapped = {**body, "env": {"B": "2", "A": "1"}}
    second = await app_client.post("/v1/jobs", json=swapped, headers=headers, params={"wait": 180})
    assert (second.status_code, second.headers["idempotency-replayed"]) == (200, "true")
    assert (second.json()["id"], second.json()["stdout"]) == (first.json()["id"], "1\n")
    third = await app_client.post("/v1/jobs", json=body, headers=headers)
    assert (third.status_code, third.headers["idempotency-replayed"], third.json()["status"]) == (
        202,
        "true",
        "succeeded",
    )
    problem(
        await app_client.post("/v1/jobs", json={**body, "code": "print(2)"}, headers=headers),
        409,
        "idempotency_mismatch",
    )
    assert len((await app_client.get("/v1/jobs")).json()["items"]) == 1
    other = {**headers, "Authorization": f"Bearer {await make_key('run')}"}
    theirs = await app_client.post("/v1/jobs", json={**body, "code": "print(2)"}, headers=other)
    assert (theirs.status_code, theirs.json()["id"] != first.json()["id"]) == (202, True)


async def test_many_at_once_with_the_same_key_are_one_job(app_client: httpx.AsyncClient) -> None:
    body = {"runtime": "python", "code": "print(1)"}
    send = [app_client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(12)]
    answers = await asyncio.gather(*send)
    assert {a.status_code for a in answers} == {202}, [a.text for a in answers if a.status_code != 202]
    assert len({a.json()["id"] for a in answers}) == 1
    assert sum("idempotency-replayed" not in a.headers for a in answers) == 1


@pytest.mark.parametrize("name", ["", "a" * 256, "tab\there", "\x7f", "é"])
async def test_idempotency_keys_that_are_none(app_client: httpx.AsyncClient, name: str) -> None:
    headers = [(b"Idempotency-Key", name.encode("latin-1"))]
    problem(
        await app_client.post("/v1/jobs", json={"runtime": "python", "code": "1"}, headers=headers),
        422,
        "invalid_input",
    )


async def test_who_leaves_while_waiting_cancels_nothing(served: Served, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with caller(served) as client:
        code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)\nprint('done')"
        leaving = asyncio.create_task(
            client.post("/v1/jobs", json={"runtime": "python", "code": code}, params={"wait": 180})
        )
        await until(_is_waited_for)
        await _cancelled(leaving)
        await until(lambda: not _is_waited_for())
        gate.touch()
        job = (await client.get("/v1/jobs")).json()["items"][0]
        done = await ended(client, job["id"])
        assert (done["status"], done["stdout"]) == ("succeeded", "done\n")


def _is_waited_for() -> bool:
    return any("JobWaits.wait" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nobody_waits_for_who_has_left(served: Served, service: Service) -> None:
    async with caller(served) as client:
        job = await submit(client, SLEEP)
        leaving = asyncio.create_task(client.get(f"/v1/jobs/{job['id']}", params={"wait": 180}))
        await until(_is_waited_for)
        await _cancelled(leaving)
        await until(lambda: not _is_waited_for())
        assert (await client.get(f"/v1/jobs/{job['id']}")).json()["status"] in ("queued", "running")


async def test_teams_do_not_see_each_others_jobs(
    app: FastAPI, make_key: Callable[..., Awaitable[str]]
) -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    mine, theirs = [
        httpx.AsyncClient(
            transport=transport,
            base_url="http://h",
            headers={"X-API-Key": await make_key("admin", team=team)},
        )
        for team in ("mine", "theirs")
    ]
    async with mine, theirs:
        files = {"file": ("a.py", b"print(1)")}
        script = (await mine.post("/v1/scripts", files=files)).json()["id"]
        code = "open('a.txt', 'w').write('x'); print(1)"
        job = await run(mine, code, artifacts=["*.txt"])
        artifact = job["artifacts"][0]["id"]
        missing = job["id"][:-1] + ("0" if job["id"][-1] != "0" else "1")
        for job_id in (job["id"], missing, "job_x", "..%2f"):
            path = f"/v1/jobs/{job_id}"
            for method, address in [
                ("GET", path),
                ("DELETE", path),
                ("POST", f"{path}/cancel"),
                ("POST", f"{path}/rerun"),
                ("GET", f"{path}/logs"),
                ("GET", f"{path}/logs?follow=true"),
                ("GET", f"{path}/logs?format=text"),
                ("GET", f"{path}/artifacts"),
                ("GET", f"{path}/artifacts.tar"),
                ("GET", f"{path}/artifacts/{artifact}"),
                ("GET", f"/jobs/{job_id}"),
                ("GET", f"/jobs/{job_id}/logs"),
            ]:
                problem(await theirs.request(method, address), 404, "not_found")
        problem(await theirs.post(f"/v1/scripts/{script}/run"), 404, "not_found")
        problem(await theirs.post(f"/scripts/{script}/run"), 404, "not_found")
        assert (await theirs.get("/v1/jobs")).json()["items"] == []
        other = await run(theirs, code, artifacts=["*.txt"])
        problem(
            await mine.get(f"/v1/jobs/{job['id']}/artifacts/{other['artifacts'][0]['id']}"), 404, "not_found"
        )
        assert (await mine.get(f"/v1/jobs/{job['id']}")).status_code == 200


async def test_scopes(app: FastAPI, make_key: Callable[..., Awaitable[str]]) -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"X-API-Key": await make_key("read")}
    async with httpx.AsyncClient(transport=transport, base_url="http://h", headers=headers) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        body = {"runtime": "python", "language": "python", "code": "1"}
        job = "/v1/jobs/job_00000000000000000000000000"
        for method, path in [
            ("POST", "/v1/jobs"),
            ("POST", "/v1/scripts/x/run"),
            ("POST", f"{job}/cancel"),
            ("POST", f"{job}/rerun"),
            ("DELETE", job),
            ("POST", "/scripts/x/run"),
            ("POST", "/api/v1/public/execute"),
        ]:
            problem(
                await client.request(method, path, json=body if method == "POST" else None),
                403,
                "not_allowed",
            )
