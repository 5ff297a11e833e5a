"""The script runner's calls, as its clients make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.jobs_api.speaking import ended, problem

if TYPE_CHECKING:
    import httpx


async def test_upload_run_ask(app_client: httpx.AsyncClient) -> None:
    uploaded = await app_client.post("/scripts", files={"script": ("hello.py", b"print('hello'); 1/0")})
    assert uploaded.status_code == 200, uploaded.text
    script = uploaded.json()["script_id"]
    assert uploaded.json()["id"] == script
    started = await app_client.post(f"/scripts/{script}/run")
    assert started.status_code == 200, started.text
    assert started.json()["status"] == "queued"
    job = started.json()["job_id"]
    await ended(app_client, job)
    state = (await app_client.get(f"/jobs/{job}")).json()
    assert (state["id"], state["job_id"], state["script_id"]) == (job, job, script)
    assert (state["status"], state["exit_code"], state["error"]) == ("failed", 1, "exit status 1")
    assert "hello\n" in state["logs"]
    assert "ZeroDivisionError" in state["logs"]
    assert state["started_at"]
    assert state["finished_at"]
    logs = await app_client.get(f"/jobs/{job}/logs")
    assert logs.headers["content-type"] == "text/plain; charset=utf-8"
    assert logs.text == state["logs"]


async def test_a_script_without_extension_is_one_of_the_shell(app_client: httpx.AsyncClient) -> None:
    uploaded = await app_client.post("/scripts", files={"script": ("hello", b"echo shell")})
    assert (uploaded.status_code, uploaded.json()["runtime"]) == (200, "bash"), uploaded.text
    job = (await app_client.post(f"/scripts/{uploaded.json()['id']}/run")).json()["job_id"]
    await ended(app_client, job)
    assert (await app_client.get(f"/jobs/{job}/logs")).text == "shell\n"


async def test_uploads_that_are_none(app_client: httpx.AsyncClient) -> None:
    problem(await app_client.post("/scripts"), 415, "unsupported_media_type")
    problem(await app_client.post("/scripts", files={"other": ("a.py", b"1")}), 422, "invalid_input")
    problem(await app_client.post("/scripts", files={"script": ("a.py", b"")}), 422, "invalid_input")
