"""Uploads: what becomes of files, folders and archives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox.config import ServerSettings
from emberbox.errors import EmberboxError, InvalidArchive, InvalidInput, InvalidPath, NoSpace, PayloadTooLarge
from emberbox.model import MIB
from emberbox.service.uploads.intake import Upload, UploadPart, receive, scratch_folder
from tests.patience import PATIENCE_S
from tests.storing import boundless
from tests.unit.blobs.mounts import small_disk
from tests.unit.files.tar_builders import make_tar, tar_info, tar_of
from tests.unit.service.uploads.archive_builders import make_zip

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = ServerSettings(upload_bytes=8 * MIB, upload_files=100)


async def upload(tmp_path: Path, *files: tuple[str, bytes], settings: ServerSettings = SETTINGS) -> Upload:
    parts = []
    for number, (name, data) in enumerate(files):
        spooled = tmp_path / f"part-{number}"
        spooled.write_bytes(data)
        parts.append(UploadPart(name, spooled))
    return await receive(parts, settings, tmp_path, boundless())


def contents(upload: Upload) -> dict[str, bytes]:
    return {
        file.path: file.source if isinstance(file.source, bytes) else file.source.read_bytes()
        for file in upload.files
    }


async def test_one_file_is_itself(tmp_path: Path) -> None:
    received = await upload(tmp_path, ("main.py", b"print(1)"))
    assert contents(received) == {"main.py": b"print(1)"}
    assert (received.archive, received.name, received.folder) == (False, "main.py", None)


async def test_several_files_keep_their_folders(tmp_path: Path) -> None:
    received = await upload(
        tmp_path, ("app/main.py", b"1"), ("app\\lib\\x.py", b"2"), ("empty", b""), ("日本語/ß.txt", b"3")
    )
    assert contents(received) == {
        "app/main.py": b"1",
        "app/lib/x.py": b"2",
        "empty": b"",
        "日本語/ß.txt": b"3",
    }
    assert not received.archive


async def test_several_files_are_never_opened(tmp_path: Path) -> None:
    archive = make_zip({"a": b"1"})
    received = await upload(tmp_path, ("main.py", b"1"), ("data.zip", archive))
    assert contents(received) == {"main.py": b"1", "data.zip": archive}


@pytest.mark.parametrize("name", ["x.zip", "x", "x.tar.gz", "x.py"])
@pytest.mark.parametrize("mode", ["zip", "w", "w:gz"])
async def test_archives_are_known_by_their_content(tmp_path: Path, name: str, mode: str) -> None:
    files = {"main.py": b"1", "lib/x.py": b"2"}
    received = await upload(
        tmp_path, (name, make_zip(files) if mode == "zip" else make_tar(files, mode=mode))
    )
    assert contents(received) == files
    assert (received.archive, received.name) == (True, name)


@pytest.mark.parametrize("name", ["a.pyz", "a.JAR", "a.whl"])
async def test_programs_that_are_archives_stay_closed(tmp_path: Path, name: str) -> None:
    data = make_zip({"__main__.py": b"1"})
    assert contents(await upload(tmp_path, (name, data))) == {name: data}


async def test_the_one_folder_of_an_archive_is_left_out(tmp_path: Path) -> None:
    received = await upload(
        tmp_path,
        ("repo-main.zip", make_zip({"repo-main/": b"", "repo-main/main.py": b"1", "repo-main/a/b": b"2"})),
    )
    assert contents(received) == {"main.py": b"1", "a/b": b"2"}
    assert received.folder == "repo-main"


@pytest.mark.parametrize(
    "files",
    [
        {"a/x": b"1", "b/y": b"2"},
        {"a/x": b"1", "y": b"2"},
        {"pkg/__init__.py": b"", "pkg/main.py": b"1"},
        {"x": b""},
    ],
)
async def test_other_folders_stay(tmp_path: Path, files: dict[str, bytes]) -> None:
    received = await upload(tmp_path, ("x.zip", make_zip(files)))
    assert contents(received) == files
    assert received.folder is None


async def test_an_empty_upload_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        await upload(tmp_path, ("main.py", b""))
    with pytest.raises(InvalidInput, match="no files"):
        await receive([], SETTINGS, tmp_path, boundless())
    for data in (make_zip({}), make_zip({"folder/": b""})):
        with pytest.raises(InvalidArchive, match="no files"):
            await upload(tmp_path, ("x.zip", data))
        (tmp_path / "unpacked").rmdir()


@pytest.mark.parametrize(
    "name", ["x.zip", "x.tar", "x.tar.gz", "x.TGZ", "x.tar.bz2", "x.7z", "x.rar", "x.tar.xz"]
)
async def test_what_is_named_like_an_archive_must_be_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArchive):
        await upload(tmp_path, (name, b"BZh91AY&SY no archive"))


@pytest.mark.parametrize(
    "name",
    [
        "../x.py",
        "/etc/passwd",
        "a/../../x",
        "",
        "C:\\x.py",
        "c:/x.py",
        "..\\x",
        "\\\\host\\x",
        "a\0.py",
        "a\n.py",
    ],
)
async def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidPath):
        await upload(tmp_path, (name, b"x"))
    with pytest.raises(InvalidPath):
        await upload(tmp_path, ("ok.py", b"x"), (name, b"x"))


async def test_a_name_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidPath, match="twice"):
        await upload(tmp_path, ("a/x.py", b"1"), ("a\\x.py", b"2"))


async def test_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="101 files"):
        await upload(tmp_path, *((f"{number}.py", b"x") for number in range(101)))
    with pytest.raises(PayloadTooLarge, match="bytes"):
        await upload(tmp_path, ("a", bytes(5 * MIB)), ("b", bytes(5 * MIB)))
    with pytest.raises(PayloadTooLarge):
        await upload(tmp_path, ("a.zip", make_zip({"a": bytes(9 * MIB)})))


async def test_a_link_in_a_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match="link"):
        await upload(tmp_path, ("x.tar", tar_of((tar_info("x", b"2", linkname="../../etc/passwd"), b""))))


async def test_scratch_is_removed_whatever_happens(tmp_path: Path) -> None:
    async with scratch_folder(tmp_path) as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o700
        received = await upload(scratch, ("x.zip", make_zip({"a": b"1"})))
        assert contents(received) == {"a": b"1"}
    with pytest.raises(EmberboxError):
        async with scratch_folder(tmp_path) as scratch:
            await upload(scratch, ("x.zip", make_zip({"a": b"1", "../b": b"2"})))
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_scratch_is_removed_after_a_cancellation(tmp_path: Path) -> None:
    data = make_zip({f"{number}": bytes(50_000) for number in range(100)})

    async def work() -> None:
        async with scratch_folder(tmp_path) as scratch:
            await upload(scratch, ("x.zip", data))

    for delay in (0, 0.001, 0.01, 0.05):
        task = asyncio.create_task(work())
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(PATIENCE_S):
        while list((tmp_path / "uploads").iterdir()):  # noqa: ASYNC110  a thread removes it
            await asyncio.sleep(0.02)


async def test_a_full_disk_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=1) as disk:
        with pytest.raises(NoSpace, match="full"):
            async with scratch_folder(disk) as scratch:
                spooled = tmp_path / "x.zip"
                spooled.write_bytes(make_zip({"a": bytes(4 * MIB)}))
                await receive([UploadPart("x.zip", spooled)], SETTINGS, scratch, boundless())
        assert list((disk / "uploads").iterdir()) == []
