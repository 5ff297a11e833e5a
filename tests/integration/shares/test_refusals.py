"""What is refused is not stored: no row, no blob, no file is left of it."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import QuotaSettings
from emberbox.errors import NoSpace
from emberbox.model import MIB
from emberbox.store.tables import FIRST_TEAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from emberbox.config import Settings
    from emberbox.service.service import Service
    from tests.integration.shares.conftest import Stored

SHARE = 300_000


@pytest.fixture
def service_settings(service_settings: Settings) -> Settings:
    """A service whose teams may store little, and whose jobs all wait."""
    quota = QuotaSettings(storage_bytes=SHARE, queued_jobs=2, queued_bytes=2 * SHARE)
    worker = replace(service_settings.worker, concurrency=1, drain_s=0.1)
    return replace(service_settings, quota=quota, worker=worker)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Check a refusal: what it is called, that it may be tried again and when; returns what it says."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1
    return str(answer.json()["detail"])


def code_of(size: int) -> dict[str, Any]:
    return {"runtime": "bash", "code": os.urandom(size // 2).hex()}


LARGE = [
    code_of(SHARE + 2),
    {**code_of(10), "stdin": "x" * (SHARE + 1)},
    {**code_of(10), "files": {"a": os.urandom(SHARE // 2).hex(), "b": "x"}},
    {**code_of(SHARE - 40_000), "args": ["x" * 70_000]},
]


@pytest.mark.parametrize("body", LARGE, ids=["code", "input", "files", "arguments"])
async def test_a_job_above_the_share(
    app_client: httpx.AsyncClient, stored: Stored, body: dict[str, Any]
) -> None:
    said = refused(await app_client.post("/v1/jobs", json=body), 429, "quota_exceeded")
    assert "storage_bytes" in said
    assert await stored.nothing()


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_an_upload_above_the_share(
    app_client: httpx.AsyncClient, service: Service, stored: Stored, *, chunked: bool
) -> None:
    """One that is announced is refused unread; of another no more is written than the share allows."""
    form = app_client.build_request(
        "POST", "/v1/scripts", files={"file": ("a.py", os.urandom(8 * MIB).hex().encode())}
    )
    body, read = form.read(), []

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), MIB // 4):
            read.append(start)
            yield body[start : start + MIB // 4]

    headers = {"Content-Type": form.headers["content-type"]}
    if not chunked:
        headers["Content-Length"] = str(len(body))
    answer = await app_client.post("/v1/scripts", content=pieces(), headers=headers)
    refused(answer, 429, "quota_exceeded")
    assert len(read) <= (8 if chunked else 1)
    assert await stored.nothing()
    assert service.reservations.promised(FIRST_TEAM) == 0


async def test_an_upload_that_unpacks_above_the_share(app_client: httpx.AsyncClient, stored: Stored) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "#" * (2 * SHARE))
    answer = await app_client.post("/v1/scripts", files={"file": ("a.zip", packed.getvalue())})
    refused(answer, 429, "quota_exceeded")
    assert await stored.nothing()


async def test_a_job_that_may_not_wait(
    app_client: httpx.AsyncClient, service: Service, stored: Stored
) -> None:
    await service.worker.stop(0)
    for _ in range(2):
        assert (await app_client.post("/v1/jobs", json=code_of(100))).status_code == 202
    blobs = [info.key async for info in service.blobs.list()]
    before = await stored.counts()
    for size in (100, 100_000):
        said = refused(await app_client.post("/v1/jobs", json=code_of(size)), 429, "quota_exceeded")
        assert "queued_jobs" in said
    assert await stored.counts() == before
    assert [info.key async for info in service.blobs.list()] == blobs


@pytest.mark.parametrize("size", [100, 200_000])
async def test_a_full_disk(
    app_client: httpx.AsyncClient,
    service: Service,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    def full(more: int = 0) -> None:
        raise NoSpace("the disk is full")

    monkeypatch.setattr(service.space, "check", full)
    refused(await app_client.post("/v1/jobs", json=code_of(size)), 507, "no_space")
    answer = await app_client.post("/v1/scripts", files={"file": ("a.py", os.urandom(size))})
    refused(answer, 507, "no_space")
    assert await stored.nothing()


async def test_a_disk_that_is_full_with_this(
    app_client: httpx.AsyncClient, service: Service, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for small work, and none for a large body: that is refused before it is written."""
    free = service.space.free_bytes()
    monkeypatch.setattr(service.space, "_wanted", free - 100_000)
    monkeypatch.setattr(service.space, "_look", lambda: None)
    monkeypatch.setattr(service.space, "_free_bytes", free)
    refused(await app_client.post("/v1/jobs", json=code_of(200_000)), 507, "no_space")
    answer = await app_client.post("/v1/scripts", files={"file": ("a.py", os.urandom(200_000))})
    refused(answer, 507, "no_space")
    assert await stored.nothing()
    assert (await app_client.post("/v1/jobs", json=code_of(100))).status_code == 202
