"""Teams over HTTP: made by the operator, shared by their keys, and closed to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from emberbox.store.tables import FIRST_TEAM
from tests.integration.api.samples import make_some_of_each

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    MakeKey = Callable[..., Awaitable[str]]

LISTS = ["/v1/scripts", "/v1/jobs", "/v1/webhooks", "/v1/keys"]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def made(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{path}/{found['id']}"
    return found


async def test_a_team_from_its_making_to_its_first_job(app_client: httpx.AsyncClient) -> None:
    team = await made(app_client, "/v1/teams", name="data", quota={"queued_jobs": 3})
    assert (team["name"], team["quota"]) == ("data", {"queued_jobs": 3})
    changed = await app_client.patch(f"/v1/teams/{team['id']}", json={"quota": {"burst": 9}})
    assert (changed.json()["name"], changed.json()["quota"]) == ("data", {"burst": 9})
    listed = (await app_client.get("/v1/teams")).json()["items"]
    assert [one["name"] for one in listed] == ["data", "main"]
    admin = await made(app_client, "/v1/keys", name="admin", scopes=["admin"], team_id=team["id"])
    assert admin["team_id"] == team["id"]
    theirs = bearer(admin["secret"])
    assert (await app_client.get(f"/v1/teams/{team['id']}", headers=theirs)).json() == changed.json()
    second = await app_client.post("/v1/keys", json={"name": "ci"}, headers=theirs)
    assert second.json()["team_id"] == team["id"]
    body = {"runtime": "python", "code": "print(1)"}
    job = (await app_client.post("/v1/jobs?wait=180", json=body, headers=theirs)).json()
    assert (job["team_id"], job["key_id"]) == (team["id"], admin["id"])
    mate = bearer(second.json()["secret"])
    assert (await app_client.get(f"/v1/jobs/{job['id']}", headers=mate)).json()["stdout"] == "1\n"


async def test_keys_of_a_team_share_what_it_has(app_client: httpx.AsyncClient, make_key: MakeKey) -> None:
    ids = await make_some_of_each(app_client, 1)
    mate = bearer(await make_key("admin"))
    for path in LISTS:
        mine = (await app_client.get(path)).json()["items"]
        theirs = (await app_client.get(path, headers=mate)).json()["items"]
        assert [one["id"] for one in theirs] == [one["id"] for one in mine]
    job = f"/v1/jobs/{ids['job_id'][0]}"
    assert (await app_client.post(f"{job}/rerun", headers=mate)).status_code == 202
    assert (await app_client.delete(job, headers=mate)).status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "main"}, 409),
        ({"name": "Main"}, 422),
        ({"name": "-x"}, 422),
        ({"name": "x" * 64}, 422),
        ({"name": "x", "quota": {"jobs": 1}}, 422),
        ({"name": "x", "id": "team_mine"}, 422),
        ({}, 422),
    ],
)
async def test_what_a_team_cannot_be(
    app_client: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    assert (await app_client.post("/v1/teams", json=body)).status_code == status


async def test_a_teams_admin_stays_in_the_team(app_client: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin = bearer(await make_key("admin", team="other"))
    own = (await app_client.get("/v1/me", headers=admin)).json()
    operator = (await app_client.get("/v1/me")).json()["id"]
    refused: list[tuple[str, str, dict[str, Any] | None, int]] = [
        ("POST", "/v1/teams", {"name": "x"}, 403),
        ("GET", "/v1/teams", None, 403),
        ("PATCH", f"/v1/teams/{own['team_id']}", {"quota": {}}, 403),
        ("GET", f"/v1/teams/{FIRST_TEAM}", None, 404),
        ("POST", "/v1/keys", {"name": "x", "team_id": FIRST_TEAM}, 403),
        ("POST", "/v1/keys", {"name": "x", "scopes": ["operator"]}, 403),
        ("PATCH", f"/v1/keys/{own['id']}", {"scopes": ["admin", "operator"]}, 403),
        ("POST", f"/v1/keys/{operator}/rotate", None, 404),
        ("POST", f"/v1/keys/{operator}/suspend", None, 404),
        ("POST", f"/v1/keys/{operator}/revoke", None, 404),
        *(("GET", f"{path}?team={FIRST_TEAM}", None, 403) for path in LISTS),
        *(("GET", f"{path}?team=all", None, 403) for path in LISTS),
    ]
    for method, path, body, status in refused:
        answer = await app_client.request(method, path, json=body, headers=admin)
        assert answer.status_code == status, (method, path, answer.text)
    assert [key["id"] for key in (await app_client.get("/v1/keys", headers=admin)).json()["items"]] == [
        own["id"]
    ]


async def test_an_admin_beside_an_operator_does_not_become_one(
    app_client: httpx.AsyncClient, make_key: MakeKey
) -> None:
    admin = bearer(await make_key("admin"))
    operator = (await app_client.get("/v1/me")).json()["id"]
    assert (await app_client.get(f"/v1/keys/{operator}", headers=admin)).status_code == 200
    for call, body in (("rotate", None), ("suspend", None), ("revoke", None)):
        answer = await app_client.post(f"/v1/keys/{operator}/{call}", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert (await app_client.get("/v1/me")).status_code == 200


async def test_an_operator_looks_after_other_teams(app_client: httpx.AsyncClient, make_key: MakeKey) -> None:
    mine = dict(app_client.headers)
    theirs = bearer(await make_key("admin", team="other"))
    team = (await app_client.get("/v1/me", headers=theirs)).json()["team_id"]
    app_client.headers.update(theirs)
    ids = {name: made[0] for name, made in (await make_some_of_each(app_client, 1)).items()}
    endless = await app_client.post("/v1/jobs", json={"runtime": "bash", "code": "sleep 600"})
    running = f"/v1/jobs/{endless.json()['id']}"
    app_client.headers.update(mine)

    for path in LISTS:
        assert {one["team_id"] for one in (await app_client.get(path)).json()["items"]} <= {FIRST_TEAM}
        for wanted in (team, "all"):
            shown = (await app_client.get(path, params={"team": wanted})).json()["items"]
            assert team in {one["team_id"] for one in shown}, path
    job, script = f"/v1/jobs/{ids['job_id']}", f"/v1/scripts/{ids['script_id']}"
    hook, delivery = f"/v1/webhooks/{ids['webhook_id']}", f"/v1/deliveries/{ids['delivery_id']}"
    looks = [job, f"{job}/logs", f"{job}/artifacts", script, f"{script}/content", hook, delivery]
    watcher = bearer(await make_key("operator"))
    for path in looks:
        assert (await app_client.get(path)).status_code == 200, path
        assert (await app_client.get(path, headers=watcher)).status_code == 200, path
    for path in (f"{job}/rerun", f"{script}/run", f"{hook}/rotate", f"{hook}/test", f"{delivery}/retry"):
        answer = await app_client.post(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), path
        assert "another team" in answer.json()["detail"]
    assert (await app_client.patch(hook, json={"active": False})).status_code == 403
    for path in (job, script, hook):
        assert (await app_client.delete(path, headers=watcher)).status_code == 403, "it has not the scope run"
    cancelled = await app_client.post(f"{running}/cancel")
    assert cancelled.status_code == 200
    ended = (await app_client.get(running, params={"wait": 180})).json()
    assert ended["status"] == "cancelled"
    for path in (running, job, script, hook):
        assert (await app_client.delete(path)).status_code == 204, path
    for path in ("/v1/scripts", "/v1/jobs", "/v1/webhooks"):
        assert (await app_client.get(path, headers=theirs)).json()["items"] == []


async def test_a_team_that_calls_too_often_is_slowed_whichever_key_it_takes(
    app_client: httpx.AsyncClient,
) -> None:
    team = await made(app_client, "/v1/teams", name="fast", quota={"requests_per_s": 0.01, "burst": 3})
    keys = [
        (await made(app_client, "/v1/keys", name=name, team_id=team["id"], quota=quota))["secret"]
        for name, quota in (("a", {}), ("b", {"requests_per_s": 1000, "burst": 1000}))
    ]
    statuses = [
        (await app_client.get("/v1/me", headers=bearer(secret))).status_code for secret in [*keys, *keys]
    ]
    assert statuses == [200, 200, 200, 429]
    assert (await app_client.get("/v1/me")).status_code == 200
