"""Jobs of a compiled language, from the request to what is told of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from emberbox.service.accounts.usage import Usage
from emberbox.service.upkeep.expiry import expire_logs
from emberbox.store.tables import results
from tests.integration.compiling.conftest import LUCKY
from tests.integration.jobs.conftest import caller, other  # noqa: F401
from tests.integration.jobs_api.speaking import ended as wait
from tests.integration.jobs_api.speaking import run

if TYPE_CHECKING:
    import httpx

    from emberbox.service.service import Service
    from tests.integration.jobs.conftest import Caller

LANGUAGE = "shell-compiled"


async def ended(client: httpx.AsyncClient, code: str, **options: Any) -> dict[str, Any]:
    job: dict[str, Any] = await run(client, code, runtime=LANGUAGE, **options)
    return job


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])
async def test_a_job_tells_of_its_compile_stage(app_client: httpx.AsyncClient, service: Service) -> None:
    code = "#!compile printf 'a\\0\\377b'; echo warned >&2\necho out"
    job = await ended(app_client, code)
    told = job["compile"]
    assert (job["status"], job["stdout"], job["stderr"]) == ("succeeded", "out\n", "")
    assert (told["ok"], told["reason"], told["cached"], told["exit_code"], told["message"]) == (
        True,
        "compiled",
        False,
        0,
        None,
    )
    assert (told["stdout"], told["stderr"], told["stderr_bytes"]) == ("a\0\ufffdb", "warned\n", 7)
    assert job["metrics"]["compile_ms"] == told["wall_ms"] > 0
    service.live.recent.clear()
    assert (await app_client.get(f"/v1/jobs/{job['id']}")).json() == job
    again = await ended(app_client, code)
    assert (again["compile"]["reason"], again["compile"]["cached"], again["stdout"]) == (
        "cached",
        True,
        "out\n",
    )
    (listed, _) = (await app_client.get("/v1/jobs")).json()["items"]
    assert "compile" not in listed


async def test_a_job_that_does_not_compile(app_client: httpx.AsyncClient, service: Service) -> None:
    job = await ended(app_client, "echo a\nif\n", retries=3, artifacts=["**"])
    assert (job["status"], job["reason"], job["exit_code"], job["signal"]) == (
        "compile_failed",
        "exited",
        None,
        None,
    )
    assert (job["attempt"], [attempt["outcome"] for attempt in job["attempts"]]) == (1, ["compile_failed"])
    assert job["message"] == "compile failed: the compiler ended with exit code 2"
    assert (job["compile"]["ok"], job["compile"]["exit_code"]) == (False, 2)
    assert "line 3: syntax error" in job["compile"]["stderr"]
    assert (job["stdout"], job["stderr"]) == ("", job["compile"]["stderr"])
    assert job["times"]["started_at"] is None
    service.live.recent.clear()
    assert (await app_client.get(f"/v1/jobs/{job['id']}")).json() == job
    log = await app_client.get(f"/v1/jobs/{job['id']}/logs", params={"format": "text"})
    assert "syntax error" in log.text
    found = (await app_client.get("/v1/jobs", params={"status": "compile_failed"})).json()["items"]
    assert [item["id"] for item in found] == [job["id"]]


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        ("#!compile kill -9 $$", "signalled", "failed"),
        ("#!compile sleep 60", "timeout", "timed_out"),
        ("#!compile yes", "output_limit", "output_limit"),
    ],
)
async def test_why_compilers_end(app_client: httpx.AsyncClient, code: str, reason: str, told: str) -> None:
    job = await run(app_client, code, runtime="shell-hasty" if reason == "timeout" else LANGUAGE)
    assert (job["status"], job["reason"], job["compile"]["reason"]) == ("compile_failed", reason, told)
    assert (job["message"], len(job["stderr"]) <= 65_536) == (job["compile"]["message"], True)


async def test_a_job_is_cancelled_while_it_compiles(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.post("/v1/jobs", json={"runtime": LANGUAGE, "code": "#!compile sleep 60"})
    job_id = answer.json()["id"]
    await asyncio.sleep(0.5)
    await app_client.post(f"/v1/jobs/{job_id}/cancel")
    job = await wait(app_client, job_id)
    assert (job["status"], job["compile"]) == ("cancelled", None)


async def test_programs_are_a_keys_own(caller: Caller, other: Caller) -> None:  # noqa: F811
    files = {"lib/h": "text\n"}
    mine = [await caller.run(LUCKY, runtime=LANGUAGE, files=files) for _ in range(2)]
    theirs = await other.run(LUCKY, runtime=LANGUAGE, files=files)
    outputs = [await caller.stdout(mine[0]), await caller.stdout(mine[1]), await other.stdout(theirs)]
    assert outputs[0] == outputs[1] != outputs[2]
    told = [
        await who.service.jobs.output(job)
        for who, job in ((caller, mine[0]), (caller, mine[1]), (other, theirs))
    ]
    assert [output.compile and output.compile["reason"] for output in told] == [
        "compiled",
        "cached",
        "compiled",
    ]


async def test_the_compilers_time_is_charged(caller: Caller, service: Service) -> None:  # noqa: F811
    job = await caller.run("#!compile for i in {1..200000}; do :; done; exit 1", runtime=LANGUAGE)
    assert job.metrics is not None
    assert job.metrics["cpu_user_ms"] == 0
    assert job.metrics["compile_cpu_ms"] > 50
    async with service.db.reading() as connection:
        row = (
            await connection.execute(select(results.c.compile).where(results.c.job_id == job.id))
        ).scalar_one()
    assert (row["reason"], "stderr" in row) == ("failed", False)
    (day,) = await Usage(service.db).read(team_id=caller.key.team_id, since="2000-01-01", until="9999-12-31")
    assert day.cpu_s * 1000 == pytest.approx(job.metrics["compile_cpu_ms"], rel=0.01)


async def test_what_a_compiler_said_goes_with_the_log(caller: Caller, service: Service) -> None:  # noqa: F811
    job = await caller.run("#!compile echo warned >&2\n", runtime=LANGUAGE)
    assert job.finished_at is not None
    await expire_logs(service.db, (0, ""), job.finished_at + 1)
    service.live.recent.clear()
    told = (await service.jobs.output(replace(job))).compile
    assert told is not None
    assert (told["reason"], told["stderr_bytes"], told.get("stderr")) == ("compiled", 7, None)
