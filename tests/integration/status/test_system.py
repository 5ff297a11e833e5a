"""Health, readiness, metrics, node and pools, over the API."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from emberbox.errors import BlobError, EngineClosed, InvalidInput, NoSpace, StoreError
from emberbox.sandbox.machines.standby import StandbyStatus
from emberbox.sandbox.templates.pool import PoolStatus
from emberbox.service.status import gauges, node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from emberbox.service.service import Service


async def _metrics(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation for family in families)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _value(
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str
) -> float | None:
    return samples.get((name, frozenset(labels.items())))


async def _run(client: httpx.AsyncClient, code: str) -> dict[str, Any]:
    answer = await client.post("/v1/jobs?wait=180", json={"runtime": "bash", "code": code})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look be a new one."""
    monkeypatch.setattr(node, "FRESH_S", -1.0)
    monkeypatch.setattr(gauges, "FRESH_S", -1.0)


async def test_health_and_readiness_need_no_key(app_client: httpx.AsyncClient) -> None:
    del app_client.headers["Authorization"]
    assert (await app_client.get("/healthz")).json() == {"status": "ok"}
    ready = await app_client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert set(ready.json()["checks"]) == {"database", "blobs", "engine", "disk", "ends"}


@pytest.mark.parametrize("path", ["/metrics", "/v1/node", "/v1/pools"])
async def test_the_rest_is_the_operators(
    path: str, app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]]
) -> None:
    for scope, status in (("operator", 200), ("admin", 403)):
        key = {"Authorization": f"Bearer {await make_key(scope)}"}
        assert (await app_client.get(path, headers=key)).status_code == status
    del app_client.headers["Authorization"]
    assert (await app_client.get(path)).status_code == 401


async def test_pools_are_set_by_managers_alone(
    app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]]
) -> None:
    for scope in ("admin", "operator"):
        refused = await app_client.put(
            "/v1/pools/bash",
            json={"ready": 1},
            headers={"Authorization": f"Bearer {await make_key(scope)}"},
        )
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("part", ["database", "blobs", "engine", "disk", "slow"])
async def test_a_part_that_is_not_well_is_named(
    part: str,
    app_client: httpx.AsyncClient,
    service: Service,
    make_key: Callable[..., Awaitable[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail() -> None:
        errors = {"database": StoreError, "blobs": BlobError, "engine": EngineClosed, "disk": NoSpace}
        if part == "slow":
            await asyncio.sleep(3600)
        raise errors[part]("it broke", detail="db.internal:5432")

    if part == "slow":
        monkeypatch.setattr(node, "CHECK_S", 0.2)
    monkeypatch.setattr(service.node, f"_check_{'database' if part == 'slow' else part}", fail)
    answer = await app_client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert answer.headers["content-type"] == "application/problem+json"
    named = "database: did not answer" if part == "slow" else f"{part}: it broke"
    assert answer.json()["detail"].startswith(named)
    assert "internal" not in answer.text
    for secret in (None, await make_key("admin")):
        app_client.headers = {} if secret is None else {"X-API-Key": secret}
        answer = await app_client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.json()["detail"].startswith(f"not well: {'database' if part == 'slow' else part};")
    monkeypatch.undo()


@pytest.mark.usefixtures("fresh")
async def test_a_database_that_is_gone_is_noticed(
    app_client: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*body: object) -> Any:
        raise StoreError("the database could not be reached; try again")

    # So that the key is known.
    assert (await app_client.get("/metrics")).status_code == 200
    with monkeypatch.context() as gone:
        gone.setattr(service.db, "read", closed)
        gone.setattr(service.db, "reading", closed)
        assert (await app_client.get("/readyz")).status_code == 503
        assert (await app_client.get("/healthz")).status_code == 200
        # What was measured before is still told, and the scrape does not fail.
        assert (await app_client.get("/metrics")).status_code == 200
        assert (await app_client.get("/v1/node")).status_code == 503
    assert (await app_client.get("/readyz")).status_code == 200


async def test_a_service_that_drains_is_not_ready(app_client: httpx.AsyncClient, service: Service) -> None:
    service.drain()
    answer = await app_client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_stopping")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.usefixtures("fresh")
async def test_metrics_tell_of_jobs(app_client: httpx.AsyncClient) -> None:
    await _run(app_client, "echo hello")
    await _run(app_client, "exit 3")
    samples = await _metrics(app_client)
    assert _value(samples, "emberbox_jobs_accepted_total", runtime="bash") == 2
    assert _value(samples, "emberbox_jobs_finished_total", runtime="bash", status="succeeded") == 1
    assert _value(samples, "emberbox_jobs_finished_total", runtime="bash", status="failed") == 1
    for stage in ("wait", "slot", "boot", "run", "store", "total"):
        assert _value(samples, "emberbox_job_stage_seconds_count", stage=stage) == 2, stage
    assert _value(samples, "emberbox_restores_total", source="clone") == 2
    assert _value(samples, "emberbox_job_output_bytes_total", stream="stdout") == 6
    assert _value(samples, "emberbox_http_requests_total", method="POST", route="/v1/jobs", status="200") == 2
    assert (_value(samples, "emberbox_http_request_seconds_count", route="/v1/jobs") or 0) >= 2
    assert _value(samples, "emberbox_queue_age_seconds") == 0
    assert _value(samples, "emberbox_workers") == 1
    assert _value(samples, "emberbox_machines") is not None
    assert _value(samples, "emberbox_machines_memory_bytes") is not None
    assert _value(samples, "emberbox_state", state="ready") == 1
    assert (_value(samples, "emberbox_disk_free_bytes") or 0) > 0
    assert any(name == "emberbox_build_info" and dict(labels)["version"] for name, labels in samples)


@pytest.mark.usefixtures("fresh")
async def test_metrics_tell_of_the_queue(app_client: httpx.AsyncClient, service: Service) -> None:
    await service.worker.stop(0)
    begun = time.time()
    for _ in range(3):
        assert (
            await app_client.post("/v1/jobs", json={"runtime": "bash", "code": "true"})
        ).status_code == 202
    await asyncio.sleep(0.1)
    samples = await _metrics(app_client)
    assert _value(samples, "emberbox_queue_depth", runtime="bash") == 3
    assert 0.1 <= (_value(samples, "emberbox_queue_age_seconds") or 0) <= time.time() - begun
    shown = (await app_client.get("/v1/node")).json()
    assert (shown["queue"]["queued"], shown["queue"]["running"]) == (3, 0)
    assert shown["queue"]["age_s"] >= 0.1


async def test_paths_make_no_series(app_client: httpx.AsyncClient) -> None:
    for number in range(30):
        await app_client.get(f"/v1/jobs/job_{number}")
        await app_client.get(f"/no/such/{number}")
    samples = await _metrics(app_client)
    routes = {dict(labels)["route"] for name, labels in samples if name == "emberbox_http_requests_total"}
    assert len(routes) <= 3, routes
    assert not any("such" in route for route in routes)


async def test_the_node_tells_what_it_is(
    app_client: httpx.AsyncClient, service: Service, database_kind: str
) -> None:
    shown = (await app_client.get("/v1/node")).json()
    assert (shown["state"], shown["database"]) == ("ready", database_kind)
    assert shown["driver"]["reason"]
    assert shown["capacity"]["processors"] >= 1
    assert 0 < shown["capacity"]["memory_available_bytes"] < shown["capacity"]["memory_total_bytes"]
    assert shown["capacity"]["service_memory_bytes"] > 10_000_000
    assert [(worker["id"], worker["here"], worker["running"]) for worker in shown["workers"]] == [
        (service.worker.id, True, 0)
    ]
    assert "python" in shown["runtimes"]


async def test_pools_are_shown_and_set(
    app_client: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered: list[tuple[Any, ...]] = []

    async def warm(runtime: str, count: int, **options: Any) -> bool:
        ordered.append((runtime, count, options))
        return count < 3

    status = PoolStatus(
        template="abc",
        runtime="bash",
        memory_mib=128,
        vcpus=1,
        ready=2,
        target=3,
        claims=7,
        misses=1,
        failures=0,
        standby=2,
    )
    monkeypatch.setattr(service.engine, "warm_pool", warm)
    monkeypatch.setattr(service.engine, "pools", lambda: [status, status])
    changed = await app_client.put("/v1/pools/sh", json={"ready": 2, "memory_mib": 256, "wait_s": 5})
    assert changed.json() == {"runtime": "bash", "ready": 2, "filled": True}
    assert ordered == [("bash", 2, {"memory_mib": 256, "vcpus": None, "timeout_s": 5.0})]
    pools = (await app_client.get("/v1/pools")).json()
    assert pools["items"][0] == {
        "runtime": "bash",
        "template": "abc",
        "memory_mib": 128,
        "vcpus": 1,
        "ready": 2,
        "target": 3,
        "claims": 7,
        "misses": 1,
        "failures": 0,
        "standby": 2,
    }
    monkeypatch.setattr(
        service.engine, "standbys", lambda: StandbyStatus(ready=2, started=9, used=6, lost=1, failures=3)
    )
    samples = await _metrics(app_client)
    assert _value(samples, "emberbox_standbys") == 2
    for name, count in (("started", 9), ("used", 6), ("lost", 1), ("failures", 3)):
        assert _value(samples, f"emberbox_standbys_{name}_total") == count
    assert _value(samples, "emberbox_pool_ready", runtime="bash") == 4
    assert _value(samples, "emberbox_pool_target", runtime="bash") == 6
    assert _value(samples, "emberbox_pool_claims_total", runtime="bash") == 14
    assert _value(samples, "emberbox_pool_misses_total", runtime="bash") == 2


async def test_mistakes_with_pools_are_named(
    app_client: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_many(*_: Any, **__: Any) -> bool:
        raise InvalidInput("pool.maximum is 4; raise it to keep 50 ready")

    monkeypatch.setattr(service.engine, "warm_pool", too_many)
    assert (await app_client.put("/v1/pools/cobol", json={"ready": 1})).json()["code"] == "unknown_runtime"
    above = await app_client.put("/v1/pools/bash", json={"ready": 50})
    assert (above.status_code, above.json()["code"]) == (422, "invalid_input")
    assert (await app_client.put("/v1/pools/bash", json={"ready": -1})).status_code == 422
    service.drain()
    assert (await app_client.put("/v1/pools/bash", json={"ready": 1})).json()["code"] == "service_stopping"
