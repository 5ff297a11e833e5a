"""Downloads: whole or not at all, and never where a guest's names lead."""

from __future__ import annotations

import hashlib
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

import httpx
import pytest

from emberbox.client._async import artifacts
from emberbox.errors import InvalidPath, ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.client import AsyncClient

CONTENT = b"content" * 1000


def _server(*paths: str, sent: bytes = CONTENT) -> Callable[[httpx.Request], httpx.Response]:
    listed = [
        {
            "id": f"art_{number}",
            "path": path,
            "size": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "created_at": "2030-01-01T00:00:00Z",
        }
        for number, path in enumerate(paths)
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/artifacts"):
            return httpx.Response(200, json={"items": listed, "next_cursor": None})
        return httpx.Response(200, content=sent)

    return answer


async def test_all_below_their_folder(connect: Callable[..., AsyncClient], tmp_path: Path) -> None:
    found = await connect(_server("a", "b/c/d")).jobs.download_all("job_01", tmp_path / "to")
    assert found == [tmp_path / "to/a", tmp_path / "to/b/c/d"]
    assert all(path.read_bytes() == CONTENT for path in found)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", "", ".", "..", "a\0b", "a/./b"])
async def test_names_that_lead_elsewhere(
    connect: Callable[..., AsyncClient], tmp_path: Path, path: str
) -> None:
    with pytest.raises(InvalidPath):
        await connect(_server("good", path)).jobs.download_all("job_01", tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\\b", "..\\x", "C:", "C:x", "C:\\x", "\\\\host\\share"])
async def test_names_that_lead_elsewhere_on_windows(
    connect: Callable[..., AsyncClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    jobs = connect(_server(name)).jobs
    assert await jobs.download_all("job_01", tmp_path) == [tmp_path / name], "here, these are names"
    monkeypatch.setattr(artifacts, "_is_name", lambda part: PureWindowsPath(part).name == part)
    with pytest.raises(InvalidPath):
        await jobs.download_all("job_01", tmp_path)
    with pytest.raises(InvalidPath):
        await jobs.download("job_01", "art_0", tmp_path)


@pytest.mark.parametrize(("path", "name"), [("../x", "x"), ("/etc/x", "x"), ("a/b.txt", "b.txt")])
async def test_into_a_folder_goes_the_name_alone(
    connect: Callable[..., AsyncClient], tmp_path: Path, path: str, name: str
) -> None:
    assert await connect(_server(path)).jobs.download("job_01", path, tmp_path) == tmp_path / name


async def test_what_is_not_whole_leaves_nothing(connect: Callable[..., AsyncClient], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(ServerUnreachable, match="not what the job left behind"):
        await connect(_server("a", sent=CONTENT[:-1])).jobs.download("job_01", "a", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]


async def test_files_get_the_rights_of_new_ones(connect: Callable[..., AsyncClient], tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    found = await connect(_server("a")).jobs.download("job_01", "art_0", tmp_path)
    assert found.stat().st_mode == (tmp_path / "usual").stat().st_mode
