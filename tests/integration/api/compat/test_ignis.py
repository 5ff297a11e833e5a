"""Ignis's call, as its clients make it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.jobs_api.speaking import problem

if TYPE_CHECKING:
    import httpx


async def test_execute(app_client: httpx.AsyncClient, admin_key: str) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    body = {"language": "python", "code": code}
    del app_client.headers["Authorization"]
    problem(await app_client.post("/api/v1/public/execute", json=body), 401, "not_authenticated")
    answer = await app_client.post("/api/v1/public/execute", json=body, headers={"X-API-Key": admin_key})
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["message"], result["error"], result["stdout"], result["stderr"]) == (
        "Success",
        None,
        "out\n",
        "err\n",
    )
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
    problem(
        await app_client.post("/api/v1/public/execute", json={"language": "klingon", "code": "1"}),
        404,
        "unknown_runtime",
    )
    problem(
        await app_client.post("/api/v1/public/execute", json={"language": "python"}), 422, "invalid_input"
    )
    problem(
        await app_client.post("/api/v1/public/execute", json={"language": "python", "code": ""}),
        422,
        "invalid_input",
    )
