"""Downloading what jobs left behind."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.jobs_api.speaking import caller, problem, run

if TYPE_CHECKING:
    from tests.integration.conftest import Served

LEAVE = """
import os
os.makedirs('out/deep')
open('out/a.txt', 'w').write('text')
open('out/deep/empty', 'w')
open('out/big.bin', 'wb').write(os.urandom(300_000))
open('out/na\\"me;\\u202e\\n.html', 'w').write('<script>alert(1)</script>')
open('left.txt', 'w').write('not asked for')
"""


async def test_list_and_download(app_client: httpx.AsyncClient) -> None:
    job = await run(app_client, LEAVE, artifacts=["out/**"])
    listed = (await app_client.get(f"/v1/jobs/{job['id']}/artifacts")).json()
    assert listed["next_cursor"] is None
    assert listed["items"] == job["artifacts"]
    by_path = {item["path"]: item for item in listed["items"]}
    assert {"out/a.txt", "out/deep/empty", "out/big.bin"} <= set(by_path)
    contents = {}
    for path, item in by_path.items():
        answer = await app_client.get(f"/v1/jobs/{job['id']}/artifacts/{item['id']}")
        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(item["size"]) == str(len(answer.content))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="')
        assert disposition.isascii()
        assert disposition.count('"') == 2
        contents[path] = answer.content
    assert contents["out/a.txt"] == b"text"
    assert contents["out/deep/empty"] == b""

    archive = await app_client.get(f"/v1/jobs/{job['id']}/artifacts.tar")
    assert archive.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        unpacked = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert unpacked == contents


async def test_nothing_was_left(app_client: httpx.AsyncClient) -> None:
    job = await run(app_client, "print(1)", artifacts=["*.txt"])
    assert (await app_client.get(f"/v1/jobs/{job['id']}/artifacts")).json() == {
        "items": [],
        "next_cursor": None,
    }
    archive = await app_client.get(f"/v1/jobs/{job['id']}/artifacts.tar")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        assert tar.getnames() == []
    for artifact in ("art_00000000000000000000000000", "x", "_"):
        problem(await app_client.get(f"/v1/jobs/{job['id']}/artifacts/{artifact}"), 404, "not_found")


async def test_what_is_lost_is_not_taken_for_all(served: Served) -> None:
    """A file that is gone is an error; one that is shorter than it was ends the connection before its end."""
    async with caller(served) as client:
        job = await run(client, "open('a.bin', 'wb').write(b'x' * 1_000_000)", artifacts=["*.bin"])
        path = f"/v1/jobs/{job['id']}/artifacts/{job['artifacts'][0]['id']}"
        record = (await served.service.artifacts.list(job["id"]))[0]
        await served.service.blobs.put(record.blob_key, b"y" * 500_000)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(path)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/v1/jobs/{job['id']}/artifacts.tar")
        await served.service.blobs.delete([record.blob_key])
        answer = await client.get(path)
        assert answer.status_code >= 400
        assert answer.headers["content-type"] == "application/problem+json"
