from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.schemas.base import Page
from emberbox.schemas.keys import Key, KeyWithSecret

if TYPE_CHECKING:
    import httpx

    from emberbox.service.service import Service


def _with(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def _create(client: httpx.AsyncClient, **values: Any) -> KeyWithSecret:
    answer = await client.post("/v1/keys", json={"name": "k", **values})
    assert answer.status_code == 201, answer.text
    key = KeyWithSecret.model_validate_json(answer.content)
    assert answer.headers["location"] == f"/v1/keys/{key.id}"
    return key


async def test_a_key_from_its_making_to_its_end(app_client: httpx.AsyncClient) -> None:
    made = await _create(app_client, name="ci", scopes=["run"], quota={"queued_jobs": 5})
    assert (made.name, made.scopes, made.quota, made.hint) == (
        "ci",
        ["read", "run"],
        {"queued_jobs": 5},
        made.secret[-4:],
    )
    seen = await app_client.get("/v1/me", headers=_with(made.secret))
    assert Key.model_validate_json(seen.content).id == made.id
    assert "secret" not in seen.json()
    changed = await app_client.patch(
        f"/v1/keys/{made.id}", json={"name": "ci 2", "scopes": ["read"], "quota": {}}
    )
    assert (changed.json()["name"], changed.json()["scopes"], changed.json()["quota"]) == (
        "ci 2",
        ["read"],
        {},
    )
    revoked = await app_client.post(f"/v1/keys/{made.id}/revoke")
    assert revoked.json()["revoked_at"] is not None
    assert (await app_client.get("/v1/me", headers=_with(made.secret))).status_code == 401
    assert (await app_client.get(f"/v1/keys/{made.id}")).json() == revoked.json()
    assert (await app_client.patch(f"/v1/keys/{made.id}", json={"name": "x"})).status_code == 409


async def test_rotation(app_client: httpx.AsyncClient) -> None:
    made = await _create(app_client)
    first = KeyWithSecret.model_validate_json(
        (await app_client.post(f"/v1/keys/{made.id}/rotate", json={"grace_s": 60})).content
    )
    assert first.id == made.id
    for secret in (made.secret, first.secret):
        assert (await app_client.get("/v1/me", headers=_with(secret))).status_code == 200
    second = (await app_client.post(f"/v1/keys/{made.id}/rotate")).json()
    assert (await app_client.get("/v1/me", headers=_with(second["secret"]))).status_code == 200
    for secret in (made.secret, first.secret):
        assert (await app_client.get("/v1/me", headers=_with(secret))).status_code == 401


async def test_an_expiry_is_kept_to_the_microsecond_and_can_be_taken_back(
    app_client: httpx.AsyncClient,
) -> None:
    ends = (datetime.now(UTC) + timedelta(days=400)).replace(microsecond=123_457)
    made = await _create(app_client, expires_at=ends.astimezone().isoformat())
    assert made.expires_at == ends
    assert (await app_client.patch(f"/v1/keys/{made.id}", json={})).json()["expires_at"] is not None
    assert (await app_client.patch(f"/v1/keys/{made.id}", json={"expires_at": None})).json()[
        "expires_at"
    ] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": "a\0b"}, "body.name"),
        ({"name": "k", "scopes": []}, "body.scopes"),
        ({"name": "k", "scopes": ["root"]}, "body.scopes.0"),
        ({"name": "k", "expires_at": "2030-01-01T00:00:00"}, "body.expires_at"),
        ({"name": "k", "quota": {"jobs": 1}}, "body.quota.jobs"),
        ({"name": "k", "quota": {"burst": "3"}}, "body.quota.burst"),
        ({"name": "k", "id": "key_mine"}, "body.id"),
    ],
)
async def test_what_a_key_cannot_be(app_client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await app_client.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert [one["field"] for one in answer.json()["errors"]] == [field]


async def test_a_key_cannot_be_made_to_end_in_the_past(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.post("/v1/keys", json={"name": "k", "expires_at": "2020-01-01T00:00:00Z"})
    assert answer.status_code == 422


async def test_the_last_operators_key_cannot_be_lost(app_client: httpx.AsyncClient) -> None:
    mine = (await app_client.get("/v1/me")).json()["id"]
    for attempt in (
        app_client.post(f"/v1/keys/{mine}/revoke"),
        app_client.patch(f"/v1/keys/{mine}", json={"scopes": ["run"]}),
        app_client.patch(f"/v1/keys/{mine}", json={"expires_at": "2100-01-01T00:00:00Z"}),
    ):
        assert (await attempt).status_code == 409
    other = await _create(app_client, scopes=["admin", "operator"])
    assert (await app_client.post(f"/v1/keys/{mine}/revoke")).status_code == 200
    assert (await app_client.get("/v1/keys", headers=_with(other.secret))).status_code == 200


async def test_pages(app_client: httpx.AsyncClient) -> None:
    made = [(await _create(app_client, name=str(number))).id for number in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = Page[Key].model_validate_json(
            (
                await app_client.get("/v1/keys", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
            ).content
        )
        seen += [key.id for key in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen[:5] == made[::-1]
    assert len(seen) == len(set(seen)) == 6
    assert (await app_client.get("/v1/keys", params={"cursor": "job_x"})).status_code == 422


async def test_the_last_use_shows(app_client: httpx.AsyncClient, service: Service) -> None:
    made = await _create(app_client)
    assert made.last_used_at is None
    await app_client.get("/v1/me", headers=_with(made.secret))
    await service.keys.flush()
    used = Key.model_validate_json((await app_client.get(f"/v1/keys/{made.id}")).content).last_used_at
    assert used is not None
    assert datetime.now(UTC) - used < timedelta(minutes=1)


async def test_a_quota_of_a_key_changes_its_rate_at_once(app_client: httpx.AsyncClient) -> None:
    made = await _create(app_client, quota={"requests_per_s": 0.01, "burst": 2})
    statuses = [(await app_client.get("/v1/me", headers=_with(made.secret))).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    await app_client.patch(f"/v1/keys/{made.id}", json={"quota": {}})
    await app_client.patch(f"/v1/keys/{made.id}", json={"quota": {"requests_per_s": 0}})
    assert (await app_client.get("/v1/me", headers=_with(made.secret))).status_code == 200


async def test_of_two_operators_keys_that_are_revoked_at_once_one_stays(
    app_client: httpx.AsyncClient,
) -> None:
    mine = (await app_client.get("/v1/me")).json()["id"]
    other = await _create(app_client, scopes=["admin", "operator"])
    answers = await asyncio.gather(
        *(app_client.post(f"/v1/keys/{key_id}/revoke") for key_id in (mine, other.id))
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
