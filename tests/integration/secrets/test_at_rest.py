"""Secrets of jobs and webhooks: in the clear where they are used, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select, update

from emberbox.errors import Conflict, SecretsUnavailable
from emberbox.schemas.jobs import Job, SubmitJob
from emberbox.schemas.signatures import verify_signature
from emberbox.service.secrets.changing import begin, prune, rotate
from emberbox.service.secrets.keys import Keyring
from emberbox.service.secrets.rotation import examine
from emberbox.service.secrets.sealing import key_of
from emberbox.service.secrets.source import KEY_FILE, KeyFile, key_source
from emberbox.service.secrets.vault import Vault
from emberbox.service.webhooks.news import delivery_row
from emberbox.store.tables import deliveries, jobs, meta, webhooks
from tests.integration.secrets.conftest import BODY, SAID, SECRETS, calling, everything, settle, starting
from tests.integration.webhooks.receiver import receiving
from tests.patience import PATIENCE_S
from tests.vaults import vault_with

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from emberbox.config import Settings
    from emberbox.service.service import Service
    from emberbox.store import Database


PLAIN = "whsec_offen"


async def _run(
    client: httpx.AsyncClient, body: dict[str, Any] = BODY, headers: dict[str, str] | None = None
) -> Job:
    answer = await client.post("/v1/jobs", params={"wait": 180}, json=body, headers=headers)
    assert not any(secret in answer.text for secret in SECRETS)
    return Job.model_validate(answer.raise_for_status().json())


def _source(service: Service) -> KeyFile:
    source = key_source(service.settings.secrets, service.settings.data)
    assert isinstance(source, KeyFile)
    return source


async def _first_error(client: httpx.AsyncClient, delivery_id: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            told = (await client.get(f"/v1/deliveries/{delivery_id}")).json()
            if told["attempts"]:
                return str(told["attempts"][0]["error"])
            await asyncio.sleep(0.05)


async def test_a_program_has_its_secrets_and_nobody_else(
    app_client: httpx.AsyncClient, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = await _run(app_client)
    assert (job.status, job.stdout) == ("succeeded", SAID)
    assert (job.env_names, job.secret_env_names) == (["PLAIN"], ["TOKEN"])
    listed = await app_client.get("/v1/jobs")
    hook = (await app_client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})).json()
    rotated = (await app_client.post(f"/v1/webhooks/{hook['id']}/rotate")).json()
    kept = await everything(service.db)
    assert "open" in kept
    for secret in (*SECRETS, hook["secret"], rotated["secret"]):
        assert secret not in kept + listed.text + caplog.text
    assert (service.settings.data / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def test_another_run_has_them_too(app_client: httpx.AsyncClient) -> None:
    job = await _run(app_client)
    again = (await app_client.post(f"/v1/jobs/{job.id}/rerun")).json()
    ended = await app_client.get(f"/v1/jobs/{again['id']}", params={"wait": 180})
    assert (ended.json()["status"], ended.json()["stdout"]) == ("succeeded", SAID)


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret_env": {"A B": "x"}},
        {"secret_env": {"A": "\0"}},
        {"env": {"TOKEN": "x"}},
        {"secret_env": {str(n): "x" for n in range(201)}},
    ],
)
async def test_what_is_no_secret_variable_is_refused(
    app_client: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    answer = await app_client.post("/v1/jobs", json={**BODY, **wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_sealed_text_opens_in_its_own_row_alone(
    app_client: httpx.AsyncClient, service: Service
) -> None:
    first, second = await _run(app_client), await _run(app_client)
    moved = await service.db.scalar(select(jobs.c.sealed_env).where(jobs.c.id == first.id))
    await service.db.change(update(jobs).where(jobs.c.id == second.id).values(sealed_env=moved))
    service.live.recent.clear()
    answer = await app_client.post(f"/v1/jobs/{second.id}/rerun")
    assert (answer.status_code, answer.json()["code"]) == (503, "secrets_unavailable")
    report = await examine(service.db, service.vault.ring)
    assert (report.examples, sum(report.unreadable.values())) == ([second.id], 1)


async def test_a_repeated_request_is_known_without_a_hash_of_its_secrets(
    app_client: httpx.AsyncClient, service: Service
) -> None:
    named = {"Idempotency-Key": "n"}
    job = await _run(app_client, headers=named)
    other = {
        **BODY,
        "secret_env": {"TOKEN": "another"},
        "webhook": {**BODY["webhook"], "secret": "another one"},
    }
    assert (await _run(app_client, other, named)).id == job.id
    answer = await app_client.post("/v1/jobs", json={**BODY, "secret_env": {"OTHER": "x"}}, headers=named)
    assert answer.json()["code"] == "idempotency_mismatch"


async def test_keys_are_rotated_under_a_service_that_runs(
    app_client: httpx.AsyncClient, service: Service
) -> None:
    job = await _run(app_client)
    await app_client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})
    source, before = _source(service), service.vault.ring
    report = await rotate(service.db, source)
    after = source.load()
    assert (after.keys[1:], report.written > 2, report.unreadable) == (before.keys, True, {})
    assert set(report.rows) == {after.current.id}
    service.vault.load()
    assert (await _run(app_client)).status == "succeeded"
    assert (await app_client.post(f"/v1/jobs/{job.id}/rerun")).status_code == 202
    with pytest.raises(Conflict, match="a moment ago"):
        await prune(service.db, source)
    # As a service does that has not noticed yet.
    hook = await service.db.scalar(select(webhooks.c.id))
    late = vault_with(*before.keys).seal("late", f"webhooks/{hook}/secret")
    await service.db.change(update(webhooks).values(secret=late))
    settle(service.settings.data)
    assert await prune(service.db, source, dry_run=True) == []
    assert await prune(service.db, source) == [before.current.id]
    assert source.load().keys == (after.current,)
    service.vault.load()
    assert key_of(await service.db.scalar(select(webhooks.c.secret))) == after.current.id
    assert (await examine(service.db, service.vault.ring)).unreadable == {}


async def test_a_lost_key_is_told_and_costs_nothing_else(
    service_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    key_file = service_settings.data / KEY_FILE
    async with calling(service_settings) as client:
        job = await _run(client)
        hook = (await client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})).json()
    lost = key_file.read_text()
    key_file.unlink()
    caplog.clear()
    async with calling(service_settings) as client:
        told = [getattr(record, "action", "") for record in caplog.records]
        assert {"secrets.no_keys", "secrets.keys_lost"} <= set(told)
        assert Keyring.parse(lost).current.id in caplog.text
        assert str(service_settings.data) not in caplog.text
        assert (await _run(client, {"runtime": "bash", "code": "echo hi"})).stdout == "hi\n"
        assert (await client.get("/readyz")).status_code == 200
        for path, body in (
            (f"/v1/jobs/{job.id}/rerun", None),
            ("/v1/jobs", BODY),
            ("/v1/webhooks", {"url": "http://127.0.0.1:9/"}),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "secrets_unavailable"), answer.text
            assert "secrets rotate" in answer.json()["detail"]
        sent = (await client.post(f"/v1/webhooks/{hook['id']}/test")).json()
        assert "cannot be signed" in await _first_error(client, sent["id"])
        assert not key_file.exists()
        key_file.write_text(lost)
        key_file.chmod(0o600)
    async with calling(service_settings) as client:
        assert (await client.post(f"/v1/jobs/{job.id}/rerun")).status_code == 202


async def test_after_a_lost_key_a_new_one_begins(service_settings: Settings) -> None:
    async with calling(service_settings) as client:
        job = await _run(client)
    (service_settings.data / KEY_FILE).unlink()
    async with starting(service_settings) as service:
        report = await rotate(service.db, _source(service))
        assert report.written == 0
        assert job.id in report.examples
        assert any("which this service does not have" in why for _, why in report.unreadable)
        service.vault.load()
    async with calling(service_settings) as client:
        assert (await _run(client)).status == "succeeded"
        assert (await client.post(f"/v1/jobs/{job.id}/rerun")).json()["code"] == "secrets_unavailable"


async def test_a_job_that_waits_ends_when_its_key_is_lost(service_settings: Settings) -> None:
    settings = replace(service_settings, worker=replace(service_settings.worker, concurrency=1))
    async with starting(settings) as service:
        _, secret = await service.keys.create("test", ["run"])
        key = await service.keys.authenticate(secret)
        await service.worker.stop(0)
        order = await service.orders.for_code(SubmitJob.model_validate(BODY))
        job, _ = await service.submission.submit(key, order)
    (settings.data / KEY_FILE).unlink()
    async with starting(settings) as service:
        ended = await service.waits.wait(job.id, 180)
    assert (ended.status, ended.reason) == ("failed", "refused")
    assert "does not have" in (ended.message or "") or "secrets rotate" in (ended.message or "")


async def test_what_earlier_releases_wrote_is_sealed_at_the_first_start(
    service_settings: Settings, database: Database
) -> None:
    async with receiving() as receiver, calling(service_settings) as client:
        plain = {"url": receiver.url, "secret": "offen im Job"}
        job = await _run(client)
        hook = (await client.post("/v1/webhooks", json={"url": receiver.url})).json()
        row = delivery_row(
            key_id="key_x",
            event="job.succeeded",
            data={},
            url=receiver.url,
            job_id=job.id,
            secret=plain["secret"],
        )
        row |= {"status": "dead", "next_at": None}
    async with database.writing() as connection:
        await connection.execute(update(webhooks).values(secret=PLAIN))
        await connection.execute(update(jobs).values(webhook=plain))
        await connection.execute(insert(deliveries).values(**row))
        await connection.execute(meta.delete().where(meta.c.name == "secrets_sealed"))
    async with receiving() as receiver, calling(service_settings) as client:
        assert "offen" not in await everything(database)
        await client.patch(f"/v1/webhooks/{hook['id']}", json={"url": receiver.url})
        await client.post(f"/v1/webhooks/{hook['id']}/test")
        await receiver.wait_for(1)
        request = receiver.received[0]
        signature = request.headers["emberbox-signature"]
        assert verify_signature(request.body, signature, PLAIN)


async def test_begin_can_be_repeated_and_makes_one_key(database: Database, tmp_path: Path) -> None:
    source = KeyFile(tmp_path / KEY_FILE, "keys", own=True)
    for _ in range(3):
        vault = Vault(source)
        await begin(database, source, vault)
        assert vault.ring == source.load()
    (tmp_path / KEY_FILE).unlink()
    await begin(database, source, vault)
    with pytest.raises(SecretsUnavailable):
        source.load()
