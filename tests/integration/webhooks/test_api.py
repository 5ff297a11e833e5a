"""Webhooks, deliveries and usage over HTTP, with jobs that really run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.schemas.signatures import verify_signature
from emberbox.store.tables import FIRST_TEAM
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from tests.integration.webhooks.receiver import Receiver

    MakeKey = Callable[..., Awaitable[str]]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def run_job(client: httpx.AsyncClient, **options: Any) -> dict[str, Any]:
    body = {"runtime": "python", "code": "print('hello')"} | options
    answer = await client.post("/v1/jobs?wait=180", json=body)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Look at a delivery until it has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found: dict[str, Any] = (await client.get(path)).json()
            if found["status"] != "pending":
                return found
            await asyncio.sleep(0.01)


async def test_a_job_that_runs_is_told_of(app_client: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await app_client.post(
        "/v1/webhooks", json={"url": receiver.url, "events": ["job.finished"], "description": "ci"}
    )
    assert made.status_code == 201
    hook = made.json()
    assert made.headers["location"] == f"/v1/webhooks/{hook['id']}"
    job = await run_job(app_client, webhook={"url": f"{receiver.url}/own", "secret": "its-own-secret"})
    await receiver.wait_for(2, PATIENCE_S)
    for request in receiver.received:
        secret = "its-own-secret" if request.line.split()[1].endswith("/own") else hook["secret"]
        assert verify_signature(request.body, request.headers["emberbox-signature"], secret)
    listed = (await app_client.get(f"/v1/deliveries?job_id={job['id']}")).json()["items"]
    assert len(listed) == 2
    assert {one["webhook_id"] for one in listed} == {hook["id"], None}
    delivery = await ended(app_client, f"/v1/deliveries/{listed[0]['id']}")
    assert (delivery["status"], delivery["event"], delivery["attempts"][0]["status"]) == (
        "delivered",
        "job.succeeded",
        204,
    )
    assert delivery["payload"]["data"]["job"]["id"] == job["id"]
    of_hook = (await app_client.get(f"/v1/webhooks/{hook['id']}/deliveries?status=delivered")).json()["items"]
    assert all(one["webhook_id"] == hook["id"] and one["payload"] is None for one in of_hook)


async def test_the_life_of_a_webhook(app_client: httpx.AsyncClient, receiver: Receiver) -> None:
    hook = (await app_client.post("/v1/webhooks", json={"url": receiver.url})).json()
    path = f"/v1/webhooks/{hook['id']}"
    assert hook["events"] == ["job.finished"]
    shown = (await app_client.get(path)).json()
    assert "secret" not in shown
    assert shown == (await app_client.get("/v1/webhooks")).json()["items"][0]
    changed = await app_client.patch(path, json={"events": ["*"], "active": False})
    assert (changed.status_code, changed.json()["active"], changed.json()["url"]) == (200, False, hook["url"])
    refused = await app_client.post(f"{path}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    await app_client.patch(path, json={"active": True})
    rotated = (await app_client.post(f"{path}/rotate")).json()
    assert rotated["secret"] != hook["secret"]
    sent = await app_client.post(f"{path}/test")
    assert sent.status_code == 202
    await ended(app_client, sent.headers["location"])
    [request] = receiver.received
    assert verify_signature(request.body, request.headers["emberbox-signature"], rotated["secret"])
    again = await app_client.post(f"{sent.headers['location']}/retry")
    assert again.status_code == 202
    await receiver.wait_for(2, PATIENCE_S)
    assert receiver.received[1].body == request.body
    assert (await app_client.delete(path)).status_code == 204
    assert (await app_client.get(path)).status_code == 404
    assert (await app_client.get(sent.headers["location"])).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"url": "x"},
        {"url": "ftp://example.org/"},
        {"url": "https://u:p@example.org/"},
        {"url": "https://example.org/", "events": []},
        {"url": "https://example.org/", "events": ["job.eaten"]},
        {"url": "https://example.org/", "secret": "x"},
    ],
)
async def test_mistakes_are_answered_with_problems(app_client: httpx.AsyncClient, body: object) -> None:
    answer = await app_client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_scopes_and_walls_between_teams(
    app_client: httpx.AsyncClient, make_key: MakeKey, receiver: Receiver
) -> None:
    hook = (await app_client.post("/v1/webhooks", json={"url": receiver.url})).json()
    delivery = (await app_client.post(f"/v1/webhooks/{hook['id']}/test")).json()
    calls = [
        ("GET", f"/v1/webhooks/{hook['id']}", None),
        ("GET", f"/v1/webhooks/{hook['id']}/deliveries", None),
        ("GET", f"/v1/deliveries/{delivery['id']}", None),
        ("PATCH", f"/v1/webhooks/{hook['id']}", {"active": False}),
        ("POST", f"/v1/webhooks/{hook['id']}/test", None),
        ("POST", f"/v1/webhooks/{hook['id']}/rotate", None),
        ("POST", f"/v1/deliveries/{delivery['id']}/retry", None),
        ("DELETE", f"/v1/webhooks/{hook['id']}", None),
    ]
    stranger, reader = await make_key("admin", team="stranger"), await make_key("read", name="reader")
    for method, path, body in calls:
        found = await app_client.request(method, path, json=body, headers=bearer(stranger))
        assert (found.status_code, found.json()["code"]) == (404, "not_found")
        if method != "GET":
            refused = await app_client.request(method, path, json=body, headers=bearer(reader))
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert (await app_client.get("/v1/webhooks", headers=bearer(stranger))).json()["items"] == []
    shared = (await app_client.get("/v1/webhooks", headers=bearer(reader))).json()["items"]
    assert [one["id"] for one in shared] == [hook["id"]]


async def test_usage_is_summed(app_client: httpx.AsyncClient, make_key: MakeKey) -> None:
    before = (await app_client.get("/v1/usage")).json()
    assert (before["jobs"], before["days"]) == (0, [])
    await run_job(app_client)
    await run_job(app_client, code="raise SystemExit(3)")
    report = (await app_client.get("/v1/usage")).json()
    assert (report["jobs"], report["succeeded"], len(report["days"])) == (2, 1, 1)
    assert report["run_s"] > 0
    assert report["until"] == report["days"][0]["day"] == datetime.now(UTC).date().isoformat()
    mate, stranger = await make_key("read"), await make_key("admin", team="other")
    assert (await app_client.get("/v1/usage", headers=bearer(mate))).json() == report
    assert (await app_client.get("/v1/usage", headers=bearer(stranger))).json()["jobs"] == 0
    for team in ("all", FIRST_TEAM):
        refused = await app_client.get(f"/v1/usage?team={team}", headers=bearer(stranger))
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
        assert (await app_client.get(f"/v1/usage?team={team}")).json()["jobs"] == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("since=2026-01-01&until=2026-12-31", 200),
        ("since=2026-01-01&until=2027-01-02", 422),
        ("since=2026-01-02&until=2026-01-01", 422),
        ("since=nonsense", 422),
        ("until=0001-01-01", 200),
        ("since=9999-12-31", 422),
        ("until=9999-12-31", 200),
        ("since=2026-01-01", 200),
        ("since=0001-01-01", 200),
        ("since=1", 422),
    ],
)
async def test_the_days_of_usage_are_bounded(app_client: httpx.AsyncClient, query: str, status: int) -> None:
    answer = await app_client.get(f"/v1/usage?{query}")
    assert answer.status_code == status, answer.text
