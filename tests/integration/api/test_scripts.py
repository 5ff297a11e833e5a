from __future__ import annotations

import asyncio
import io
import tarfile
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emberbox.api.app import create_app
from emberbox.config import ServerSettings
from emberbox.model import MIB
from emberbox.schemas.scripts import Script
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from emberbox.service.service import Service
    from tests.integration.conftest import Served

NAMES = [
    *(
        "main.py",
        "with space.py",
        "a'b.py",
        "a;b=c.py",
        "привет.py",
        "Ελληνικά.py",
        "tiếng_việt.py",
        "გამარჯობა.py",
        "ሰላም.py",
    ),
    *("你好世界.py", "こんにちは.py", "안녕.py", "नमस्ते.py", "สวัสดี.py"),
    *("مرحبا.py", "שלום.py", "ﷺ.py", "👩‍💻.py", "𝕦𝕟𝕚.py", "ʻokina.py"),
]


async def _upload(client: httpx.AsyncClient, *files: tuple[str, bytes], **fields: str) -> Script:
    answer = await client.post("/v1/scripts", files=[("file", file) for file in files], data=fields)
    assert answer.status_code == 201, answer.text
    script = Script.model_validate_json(answer.content)
    assert answer.headers["location"] == f"/v1/scripts/{script.id}"
    return script


async def test_a_script_from_its_upload_to_its_end(app_client: httpx.AsyncClient) -> None:
    made = await _upload(
        app_client, ("hello.py", b"print('hi')\n"), name="greeting", labels='{"team": "data"}'
    )
    assert (made.name, made.runtime, made.entry, made.size, made.labels) == (
        "greeting",
        "python",
        "hello.py",
        12,
        {"team": "data"},
    )
    assert (await app_client.get(f"/v1/scripts/{made.id}")).json() == made.model_dump(mode="json")
    content = await app_client.get(f"/v1/scripts/{made.id}/content")
    assert (content.content, content.headers["content-type"]) == (
        b"print('hi')\n",
        "application/octet-stream",
    )
    assert (
        content.headers["content-disposition"]
        == "attachment; filename=\"hello.py\"; filename*=UTF-8''hello.py"
    )
    assert content.headers["x-content-type-options"] == "nosniff"
    deleted = await app_client.delete(f"/v1/scripts/{made.id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for path in ("", "/content"):
        assert (await app_client.get(f"/v1/scripts/{made.id}{path}")).status_code == 404
    assert (await app_client.delete(f"/v1/scripts/{made.id}")).status_code == 404


async def test_the_article_s_field_and_no_runtime(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.post(
        "/v1/scripts", files=[("script", ("run", b"#!/usr/bin/env python3\nprint(1)\n"))]
    )
    assert (answer.status_code, answer.json()["runtime"]) == (201, "python")


async def test_several_files_keep_their_folders(app_client: httpx.AsyncClient) -> None:
    made = await _upload(
        app_client, ("main.py", b"import pkg.a"), ("pkg/a.py", b"A"), ("pkg/deep/b.txt", b"")
    )
    assert made.files is not None
    assert [(file.path, file.size) for file in made.files] == [
        ("main.py", 12),
        ("pkg/a.py", 1),
        ("pkg/deep/b.txt", 0),
    ]
    whole = await app_client.get(f"/v1/scripts/{made.id}/content")
    assert whole.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as archive:
        assert {member.name: member.size for member in archive} == {
            "main.py": 12,
            "pkg/a.py": 1,
            "pkg/deep/b.txt": 0,
        }
    one = await app_client.get(f"/v1/scripts/{made.id}/content", params={"path": "pkg/a.py"})
    assert (one.content, one.headers["content-length"]) == (b"A", "1")
    for path in ("pkg", "../main.py", "nothing"):
        assert (
            await app_client.get(f"/v1/scripts/{made.id}/content", params={"path": path})
        ).status_code == 404


async def test_an_archive_is_opened(app_client: httpx.AsyncClient) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("project/main.py", "print(1)")
        archive.writestr("project/data/x.csv", "1,2")
    made = await _upload(app_client, ("project.zip", packed.getvalue()))
    assert (made.entry, made.file_count) == ("main.py", 2)


@pytest.mark.parametrize("name", NAMES)
async def test_names_in_every_script_of_unicode(app_client: httpx.AsyncClient, name: str) -> None:
    made = await _upload(app_client, (name, b"print(1)"))
    assert (made.entry, made.name) == (name, name)
    content = await app_client.get(f"/v1/scripts/{made.id}/content")
    assert content.content == b"print(1)"
    disposition = content.headers["content-disposition"]
    assert disposition.isascii()
    encoded = disposition.partition("filename*=UTF-8''")[2]
    assert str(httpx.URL(f"http://x/{encoded}").path) == f"/{name}"


def _tar(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", b"0" * (60 * MIB))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([("a.py", b"")], "invalid_input"),
        ([], "invalid_input"),
        ([("../a.py", b"x"), ("b.py", b"x")], "invalid_path"),
        ([("a.py", b"x"), ("a.py", b"y")], "invalid_path"),
        ([("a.unknown", b"x")], "unknown_runtime"),
        ([("a.tar.gz", _tar(("../../etc/cron.d/x", b"x")))], "invalid_archive"),
        ([("a.zip", _bomb())], "invalid_archive"),
        ([("a.zip", b"PK\x03\x04 nonsense")], "invalid_archive"),
    ],
    ids=["empty", "nothing", "outside", "twice", "unknown", "tar-outside", "bomb", "damaged"],
)
async def test_uploads_that_are_refused_leave_nothing(
    app_client: httpx.AsyncClient, service: Service, files: list[tuple[str, bytes]], code: str
) -> None:
    before = _files(service.settings.data)
    # Without a file httpx would send no form at all.
    parts: list[tuple[str, Any]] = [("file", file) for file in files] or [("name", (None, b"nothing"))]
    answer = await app_client.post("/v1/scripts", files=parts)
    assert answer.status_code in (404, 413, 422)
    if code != "invalid_archive":
        assert answer.json()["code"] == code
    else:
        assert answer.json()["code"] in ("invalid_archive", "payload_too_large", "invalid_path")
    assert _files(service.settings.data) == before
    assert (await app_client.get("/v1/scripts")).json()["items"] == []


def _files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file() and "service.db" not in path.name}


async def test_other_bodies_and_wrong_fields(app_client: httpx.AsyncClient) -> None:
    assert (await app_client.post("/v1/scripts", json={})).status_code == 415
    file = [("file", ("a.py", b"x"))]
    for field, value in (
        ("labels", "[]"),
        ("labels", "{"),
        ("labels", '{"a": 1}'),
        ("entry", "other.py"),
        ("colour", "red"),
    ):
        answer = await app_client.post("/v1/scripts", files=file, data={field: value})
        assert answer.status_code == 422, (field, value)
        assert field in answer.json()["detail"] or "other.py" in answer.json()["detail"]
    assert (await app_client.post("/v1/scripts", files=file, data={"runtime": "cobol"})).status_code == 404


async def test_bounds_of_uploads(service: Service, admin_key: str) -> None:
    service.settings = replace(service.settings, server=ServerSettings(upload_bytes=1000, upload_files=2))
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://x", headers={"X-API-Key": admin_key}
    ) as client:
        for files in (
            [("a.py", b"x" * 1001)],
            [("a.py", b"x"), ("b.py", b"x"), ("c.py", b"x")],
            [("a.py", b"x" * 3 * MIB)],
        ):
            answer = await client.post("/v1/scripts", files=[("file", file) for file in files])
            assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        await _upload(client, ("a.py", b"x" * 500), ("main.py", b"x" * 500))


async def test_an_upload_of_100_mib(served: Served) -> None:
    size = 100 * MIB
    block = bytes(range(256)) * 4096
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.py"\r\n\r\n'

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(size // len(block)):
            yield block
        yield b"\r\n--b--\r\n"

    headers = served.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=PATIENCE_S) as client:
        answer = await client.post("/v1/scripts", content=body())
        assert (answer.status_code, answer.json()["size"]) == (201, size)
        taken = 0
        async with client.stream("GET", f"{answer.headers['location']}/content") as content:
            async for piece in content.aiter_bytes():
                assert piece[0] == taken % 256
                taken += len(piece)
        assert taken == size


async def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.py"\r\n\r\n'
    writer.write(
        b"POST /v1/scripts HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n"
        + f"X-API-Key: {served.secret}\r\n\r\n".encode()
        + head
        + b"x" * 3 * MIB
    )
    await writer.drain()
    uploads = served.service.settings.data / "uploads"
    await _until(lambda: uploads.is_dir() and any(uploads.iterdir()))
    writer.close()
    await _until(lambda: not any(uploads.iterdir()))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  nothing tells when another task has come so far
            await asyncio.sleep(0.01)


async def test_one_team_does_not_see_another_s_scripts(
    app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]]
) -> None:
    mine = await _upload(app_client, ("a.py", b"print(1)"))
    ours = {"Authorization": f"Bearer {await make_key('run')}"}
    other = {"Authorization": f"Bearer {await make_key('run', team='other')}"}
    theirs = Script.model_validate_json(
        (await app_client.post("/v1/scripts", files=[("file", ("a.py", b"print(1)"))], headers=other)).content
    )
    assert theirs.sha256 == mine.sha256
    for method, path in (
        ("GET", ""),
        ("GET", "/content"),
        ("GET", "/content?path=a.py"),
        ("DELETE", ""),
        ("POST", "/run"),
    ):
        answer = await app_client.request(method, f"/v1/scripts/{mine.id}{path}", headers=other)
        missing = await app_client.request(method, f"/v1/scripts/scr_{'0' * 26}{path}", headers=other)
        assert answer.status_code == missing.status_code == 404
        assert answer.json()["detail"] == missing.json()["detail"]
    for headers, script in ((other, theirs), (ours, mine)):
        listed = (await app_client.get("/v1/scripts", headers=headers)).json()["items"]
        assert [item["id"] for item in listed] == [script.id]
    assert (await app_client.get(f"/v1/scripts/{mine.id}/content")).status_code == 200


async def test_pages_and_filters(app_client: httpx.AsyncClient) -> None:
    made = [
        await _upload(app_client, (f"{n}.py", b"print(%d)" % n), labels=f'{{"n": "{n % 2}"}}')
        for n in range(5)
    ]
    await _upload(app_client, ("x.sh", b"echo"))
    first = (await app_client.get("/v1/scripts", params={"limit": 3, "runtime": "python"})).json()
    rest = (
        await app_client.get(
            "/v1/scripts", params={"limit": 3, "runtime": "python", "cursor": first["next_cursor"]}
        )
    ).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == [script.id for script in made[::-1]]
    assert rest["next_cursor"] is None
    assert all(item["files"] is None for item in first["items"])
    odd = (await app_client.get("/v1/scripts", params={"label": "n:1"})).json()["items"]
    assert [item["id"] for item in odd] == [made[3].id, made[1].id]
    named = (await app_client.get("/v1/scripts", params={"name": "2.py"})).json()["items"]
    assert [item["id"] for item in named] == [made[2].id]


async def test_runtimes(app_client: httpx.AsyncClient) -> None:
    listed = (await app_client.get("/v1/runtimes")).json()["items"]
    python = next(item for item in listed if item["name"] == "python")
    assert ".py" in python["extensions"]
    assert (
        (await app_client.get("/v1/runtimes/py")).json()
        == (await app_client.get("/v1/runtimes/PYTHON")).json()
        == python
    )
    assert (await app_client.get("/v1/runtimes/cobol")).json()["code"] == "unknown_runtime"
