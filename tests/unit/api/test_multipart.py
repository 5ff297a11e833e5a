from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from emberbox.api.multipart import FIELD_BYTES, Form, read_form
from emberbox.errors import InvalidInput, PayloadTooLarge
from tests.storing import boundless

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.service.accounts.reservations import Reservation

FILENAMES = [
    "main.py",
    "pkg/deep/a.py",
    "привет.py",
    "你好.py",
    "مرحبا.py",
    "שלום.py",
    "नमस्ते.py",
    "👩‍💻.py",
    "e\u0301.py",
    'a"b.py',
    "a;b=c.py",
]


def _request(body: bytes, content_type: str, piece: int) -> Request:
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]

    async def receive() -> Any:
        data = pieces.pop(0)
        return {"type": "http.request", "body": data, "more_body": bool(pieces)}

    return Request({"type": "http", "headers": [(b"content-type", content_type.encode())]}, receive)


async def _read(
    body: bytes,
    content_type: str,
    folder: Path,
    *,
    piece: int = 1000,
    room: Reservation | None = None,
    **bounds: int,
) -> Form:
    limits = {"max_bytes": 10_000_000, "max_files": 20} | bounds
    request = _request(body, content_type, piece)
    return await read_form(
        request,
        folder,
        files=("file", "script"),
        fields=("runtime", "name"),
        room=room or boundless(),
        **limits,
    )


def _encode(
    files: list[tuple[str, tuple[str, bytes]]], fields: dict[str, str] | None = None
) -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://x", files=files, data=fields or {})
    return request.read(), request.headers["content-type"]


@pytest.mark.parametrize("piece", [1, 7, 65_536])
async def test_files_and_fields_arrive_as_they_were_sent(tmp_path: Path, piece: int) -> None:
    files = [
        ("file", (name, f"print({number})\r\n--not the boundary\r\n".encode()))
        for number, name in enumerate(FILENAMES)
    ]
    form = await _read(*_encode(files, {"runtime": "python", "name": "наш"}), tmp_path, piece=piece)
    # A form has no other way to write a quotation mark in a name.
    assert [part.filename.replace("%22", '"') for part in form.files] == FILENAMES
    assert [part.path.read_bytes() for part in form.files] == [content for _, (_, content) in files]
    assert form.fields == {"runtime": "python", "name": "наш"}


async def test_empty_files_are_files(tmp_path: Path) -> None:
    form = await _read(*_encode([("file", ("a.py", b"")), ("script", ("b.py", b""))]), tmp_path)
    assert [(part.filename, part.path.read_bytes()) for part in form.files] == [("a.py", b""), ("b.py", b"")]


async def test_names_in_the_form_are_no_paths_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    form = await _read(*_encode([("file", ("../../evil.py", b"x")), ("file", ("/etc/passwd", b"y"))]), folder)
    assert [part.filename for part in form.files] == ["../../evil.py", "/etc/passwd"]
    assert {part.path.parent for part in form.files} == {folder}
    assert list(tmp_path.iterdir()) == [folder]


async def test_a_large_file_is_on_the_disk_and_not_in_memory(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    form = await _read(
        *_encode([("file", ("big", content)), ("file", ("small", b"s"))]),
        tmp_path,
        piece=65_536,
        max_bytes=20_000_000,
    )
    assert form.files[0].path.read_bytes() == content
    assert form.files[1].path.read_bytes() == b"s"


@pytest.mark.parametrize(
    ("files", "fields", "bounds", "words"),
    [
        ([("file", ("a", b"x" * 1001))], {}, {"max_bytes": 1000}, "1000 bytes"),
        ([("file", ("a", b"x" * 600)), ("file", ("b", b"x" * 600))], {}, {"max_bytes": 1000}, "1000 bytes"),
        ([("file", (str(n), b"")) for n in range(4)], {}, {"max_files": 3}, "3 files"),
        ([("file", ("a", b"x"))], {"name": "x" * (FIELD_BYTES + 1)}, {}, "name"),
    ],
)
async def test_bounds(
    tmp_path: Path,
    files: list[tuple[str, tuple[str, bytes]]],
    fields: dict[str, str],
    bounds: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(PayloadTooLarge, match=words):
        await _read(*_encode(files, fields), tmp_path, **bounds)


TYPE = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "cut off"),
        (b"nonsense", "cannot be read"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf', "cut off"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
            "must be a file with a name",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\nx\r\n--b--\r\n',
            "must be a file with a name",
        ),
        (b'--b\r\nContent-Disposition: form-data; name="colour"\r\n\r\nred\r\n--b--\r\n', "'colour'"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "''"),
        (b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\r\n--b--\r\n', "UTF-8"),
        (
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n' * 2 + b"--b--\r\n",
            "more than one",
        ),
        (b"--b\r\n" + b"X: y\r\n" * 50 + b"\r\nx\r\n--b--\r\n", "cannot be read"),
        (b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n", "cannot be read"),
    ],
)
async def test_forms_that_are_broken(tmp_path: Path, body: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        await _read(body, TYPE, tmp_path)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
        "",
        "multipart/form-data; boundary=",
    ],
)
async def test_other_types_of_body(tmp_path: Path, kind: str) -> None:
    with pytest.raises(HTTPException) as caught:
        await _read(b"{}", kind, tmp_path)
    assert caught.value.status_code == 415


async def test_a_boundary_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Boundary"):
        await _read(b"x", f"multipart/form-data; boundary={'b' * 300}", tmp_path)


@settings(max_examples=200)
@given(body=st.binary(max_size=300), cut=st.integers(0, 400), piece=st.integers(1, 50))
async def test_nothing_but_our_own_errors_comes_of_nonsense(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, cut: int, piece: int
) -> None:
    whole = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
        + body
        + b"\r\n--b--\r\n"
    )
    folder = tmp_path_factory.getbasetemp() / "nonsense"
    folder.mkdir(exist_ok=True)
    try:
        await _read(whole[:cut], TYPE, folder, piece=piece)
    except InvalidInput:
        pass
    finally:
        for path in folder.iterdir():
            path.unlink()
