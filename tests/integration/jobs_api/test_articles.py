"""The calls of the two articles, as they are written there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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


async def test_execute(app_client: httpx.AsyncClient, admin_key: str) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    body = {"language": "python", "code": code}
    del app_client.headers["Authorization"]
    problem(await app_client.post("/api/v1/public/execute", json=body), 401, "not_authenticated")
    answer = await app_client.post("/api/v1/public/execute", json=body, headers={"X-API-Key": admin_key})
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["message"], result["error"], result["stdout"], result["stderr"]) == ("Success", None, "out\n", "err\n")
    assert 0 < result["exec_duration"] < 60_000
    assert isinstance(result["mem_usage"], int)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; print('partly'); sys.exit(7)", "exit status 7"),
        ("import os; print('partly', flush=True); os.kill(os.getpid(), 9)", "signal: killed"),
    ],
)
async def test_execute_what_fails(app_client: httpx.AsyncClient, code: str, error: str) -> None:
    answer = await app_client.post("/api/v1/public/execute", json={"language": "py", "code": code})
    assert answer.status_code == 400
    result = answer.json()
    assert (result["message"], result["error"], result["stdout"]) == ("Failed to run", error, "partly\n")


async def test_execute_what_cannot_be(app_client: httpx.AsyncClient) -> None:
    problem(await app_client.post("/api/v1/public/execute", json={"language": "klingon", "code": "1"}), 404, "unknown_runtime")
    problem(await app_client.post("/api/v1/public/execute", json={"language": "python"}), 422, "invalid_input")
    problem(await app_client.post("/api/v1/public/execute", json={"language": "python", "code": ""}), 422, "invalid_input")
