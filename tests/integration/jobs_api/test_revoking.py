"""Keys that end or rest while something of theirs goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from emberbox.errors import NotAllowed
from emberbox.service.accounts.keys import Keys
from tests.integration.jobs.conftest import Caller
from tests.integration.jobs_api.speaking import (
    caller,
    ended,
    followers,
    problem,
    submit,
    until,
    until_running,
)
from tests.integration.jobs_api.test_stream import closed, heard, output, say, start, stream
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    from emberbox.service.service import Service
    from emberbox.store.records import KeyRecord
    from tests.integration.conftest import Served

    End = Callable[[Keys, str], Awaitable[object]]

ENDS: dict[str, tuple[End, str]] = {
    "revoked": (lambda keys, key_id: keys.revoke(key_id), "not_authenticated"),
    "suspended": (lambda keys, key_id: keys.suspend(key_id), "key_suspended"),
    "rotated": (lambda keys, key_id: keys.rotate(key_id), "not_authenticated"),
    "narrowed": (lambda keys, key_id: keys.update(key_id, scopes=["read"]), "not_allowed"),
}


@pytest.fixture(params=["here", "elsewhere"])
def keys(request: pytest.FixtureRequest, service: Service) -> Keys:
    """The keys of the service's process, and those of another process with the same database."""
    return service.keys if request.param == "here" else Keys(service.db)


async def new_key(service: Service) -> tuple[KeyRecord, dict[str, str]]:
    key, secret = await service.keys.create("holder", ["run"])
    return key, {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("how", list(ENDS))
async def test_a_websocket_of_a_key_that_ends_is_closed_and_the_job_goes_on(
    how: str, keys: Keys, served: Served, service: Service
) -> None:
    end, code = ENDS[how]
    key, theirs = await new_key(service)
    async with caller(served) as client:
        job = await start(client)
        async with stream(served, job) as mine, stream(served, job, additional_headers=theirs) as socket:
            await output(socket, "ready\n")
            await output(mine, "ready\n")
            await end(keys, key.id)
            told = await heard(socket)
            assert (told["type"], told["code"]) == ("error", code)
            assert await closed(socket) == 1008
            await say(mine, type="stdin", data="still\n")
            await output(mine, "still\n")
            await say(mine, type="close_stdin")
        assert (await ended(client, job))["stdout"] == "ready\nstill\nbye\n"


@pytest.mark.parametrize("how", ["revoked", "suspended"])
@pytest.mark.parametrize("format", ["json", "text"])
async def test_a_followed_log_breaks_off(
    how: str, format: str, keys: Keys, app: FastAPI, served: Served, service: Service
) -> None:
    end, code = ENDS[how]
    key, theirs = await new_key(service)
    async with caller(served) as client:
        job = await start(client)
        await until_running(client, job)
        path, query = f"/v1/jobs/{job}/logs", {"follow": "true", "format": format}
        with pytest.raises(httpx.RemoteProtocolError):
            async with client.stream("GET", path, params=query, headers=theirs) as answer:
                assert answer.status_code == 200
                await end(keys, key.id)
                async with asyncio.timeout(PATIENCE_S):
                    async for _ in answer.aiter_bytes():
                        pass
        await until(lambda: followers(app) == 0)
        async with asyncio.timeout(PATIENCE_S):
            while (again := await client.get(path, headers=theirs)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert again.json()["code"] == code
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_who_waits_for_a_job_is_sent_away(keys: Keys, served: Served, service: Service) -> None:
    key, theirs = await new_key(service)
    async with caller(served) as client:
        job = await start(client)
        await until_running(client, job)
        waiting = asyncio.ensure_future(client.get(f"/v1/jobs/{job}", params={"wait": 600}, headers=theirs))
        await until(lambda: bool(service.keys.watch._held))
        await keys.suspend(key.id)
        problem(await asyncio.wait_for(waiting, PATIENCE_S), 403, "key_suspended")
        await client.post(f"/v1/jobs/{job}/cancel")


async def test_an_upload_ends_with_its_key(keys: Keys, served: Served, service: Service) -> None:
    key, theirs = await new_key(service)
    address = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1/scripts HTTP/1.1\r\nHost: h\r\nAuthorization: {theirs['Authorization']}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n"
    body = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.py"\r\n\r\nprint(1)\n'
    writer.write((head + body).encode())
    await until(lambda: bool(service.keys.watch._held))
    await keys.revoke(key.id)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE_S)
    writer.close()
    assert b" 401 " in answer
    async with caller(served) as client:
        assert (await client.get("/v1/scripts")).json()["items"] == []


async def test_a_suspended_key_is_told_so_and_can_be_resumed(served: Served, service: Service) -> None:
    key, theirs = await new_key(service)
    path = f"/v1/keys/{key.id}"
    async with caller(served) as client:
        job = (await client.post("/v1/jobs", json={"runtime": "bash", "code": "cat"}, headers=theirs)).json()
        suspended = (await client.post(f"{path}/suspend")).json()
        assert suspended["suspended_at"] is not None
        assert (await client.post(f"{path}/suspend")).json() == suspended
        for method, address in (("GET", "/v1/me"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs")):
            refused = problem(await client.request(method, address, headers=theirs), 403, "key_suspended")
            assert "resume" in refused["detail"]
        assert (await ended(client, job["id"]))["status"] == "succeeded", "its jobs go on"
        assert (await client.post(f"{path}/resume")).json()["suspended_at"] is None
        assert (await client.get("/v1/me", headers=theirs)).status_code == 200
        await client.post(f"{path}/revoke")
        for call in ("suspend", "resume"):
            problem(await client.post(f"{path}/{call}"), 409, "conflict")


async def test_the_last_key_that_manages_teams_is_not_suspended(served: Served, service: Service) -> None:
    async with caller(served) as client:
        mine = (await client.get("/v1/me")).json()["id"]
        problem(await client.post(f"/v1/keys/{mine}/suspend"), 409, "conflict")
        other, _ = await service.keys.create("other", ["admin", "operator"])
        assert (await client.post(f"/v1/keys/{other.id}/suspend")).status_code == 200
        problem(await client.post(f"/v1/keys/{mine}/revoke"), 409, "conflict")


@pytest.mark.parametrize("running", ["end", "keep"])
async def test_a_revoked_keys_jobs(running: str, served: Served, service: Service) -> None:
    key, secret = await service.keys.create("holder", ["run"], quota={"concurrent_jobs": 1})
    theirs = {"Authorization": f"Bearer {secret}"}
    async with caller(served) as client:
        endless = {"runtime": "bash", "code": "sleep 600"}
        first = (await client.post("/v1/jobs", json=endless, headers=theirs)).json()["id"]
        await until_running(client, first)
        waiting = [
            (await client.post("/v1/jobs", json=endless, headers=theirs)).json()["id"] for _ in range(3)
        ]
        mine = (await submit(client, "print(1)"))["id"]
        answer = await client.post(f"/v1/keys/{key.id}/revoke", params={"running": running})
        assert answer.json()["revoked_at"] is not None
        for job in waiting:
            assert (await client.get(f"/v1/jobs/{job}")).json()["status"] == "cancelled"
        assert (await ended(client, mine))["status"] == "succeeded"
        if running == "keep":
            assert (await client.get(f"/v1/jobs/{first}")).json()["status"] == "running"
            assert (await client.post(f"/v1/jobs/{first}/cancel")).status_code == 200
        assert (await ended(client, first))["status"] == "cancelled"
        again = await client.post(f"/v1/keys/{key.id}/revoke", params={"running": "end"})
        assert again.json() == answer.json()
        problem(await client.post(f"/v1/keys/{key.id}/revoke?running=maybe"), 422, "invalid_input")


async def test_many_waiting_jobs_are_cancelled_none_of_which_starts(
    served: Served, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.service.jobs.revoking.AT_ONCE", 5)
    monkeypatch.setattr("emberbox.service.jobs.running.endings.ENDED_TOGETHER", 4)
    key, _ = await service.keys.create("holder", ["run"], quota={"concurrent_jobs": 1})
    holder = Caller(service, key)
    first = await holder.submit("sleep 600")
    await holder.running(first.id)
    waiting = [(await holder.submit("true")).id for _ in range(30)]
    await service.revocations.revoke(key.id)
    assert {(await holder.ended(job)).status for job in waiting} == {"cancelled"}
    assert {(await service.jobs.get(key, job)).attempt for job in waiting} == {0}
    assert (await holder.ended(first.id)).status == "cancelled"


@pytest.mark.parametrize("how", ["revoked", "suspended"])
async def test_no_job_is_accepted_of_a_key_that_ended_in_another_process(how: str, service: Service) -> None:
    key, secret = await service.keys.create("holder", ["run"])
    await service.keys.authenticate(secret)
    holder = Caller(service, key)
    await holder.run("true")
    await ENDS[how][0](Keys(service.db), key.id)
    assert (await service.keys.authenticate(secret)).id == key.id, "this process has not noticed yet"
    with pytest.raises(NotAllowed, match="revoked or suspended"):
        await holder.submit("true")


async def test_jobs_that_come_while_their_key_is_revoked_do_not_stay_behind(service: Service) -> None:
    """Each is refused, or cancelled with the others: none waits for ever, and none runs later."""
    key, _ = await service.keys.create("holder", ["run"], quota={"concurrent_jobs": 1})
    holder = Caller(service, key)
    first = await holder.submit("sleep 600")
    await holder.running(first.id)

    async def submitting() -> list[str]:
        accepted = []
        with pytest.raises(NotAllowed):
            while True:
                accepted.append((await holder.submit("true")).id)
        return accepted

    tasks = [asyncio.ensure_future(submitting()) for _ in range(4)]
    await asyncio.sleep(0.1)
    await service.revocations.revoke(key.id, keep_running=True)
    accepted = [job for jobs in await asyncio.gather(*tasks) for job in jobs]
    assert {(await holder.ended(job)).status for job in accepted} <= {"cancelled"}
    await service.jobs.cancel(key, first.id)
    assert (await holder.ended(first.id)).status == "cancelled"
