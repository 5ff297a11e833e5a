"""What was uploaded: stored once, and handed out whole."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import BlobError, InvalidPath, NoSpace, NotFound
from emberbox.service.uploads.bundles import BundleFile
from emberbox.service.uploads.contents import INLINE_BYTES
from emberbox.store.tables import contents as table
from emberbox.testing import MemoryBlobs
from tests.integration.uploads.conftest import count
from tests.storing import StoredContents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.store import Database


async def joined(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


SIZES = [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_comes_back(contents: StoredContents, blobs: MemoryBlobs, size: int) -> None:
    data = os.urandom(size)
    stored = await contents.put_file("main.py", data)
    found = await contents.get(stored.sha256)
    assert found == stored
    assert (found.kind, found.size) == ("file", size)
    assert await contents.read(found) == data
    assert await joined(contents.stream(found)) == data
    assert await joined(contents.stream_file(found, "main.py")) == data
    assert len(blobs.blobs) == (1 if size > INLINE_BYTES else 0)


@pytest.mark.parametrize("size", SIZES)
async def test_a_bundle_comes_back_as_a_tar(contents: StoredContents, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "spooled").write_bytes(data)
    stored = await contents.put_bundle(
        [
            BundleFile("run.sh", tmp_path / "spooled", 0o755),
            BundleFile("日本/ß.py", b"x" * 700),
            BundleFile("e" * 200 + "/f", b""),
        ]
    )
    found = await contents.get(stored.sha256)
    whole = await joined(contents.stream(found))
    assert len(whole) == found.size
    assert whole == await contents.read(found)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = {member.name: (member.mode, archive.extractfile(member).read()) for member in archive}  # type: ignore[union-attr]
    assert members == {
        "run.sh": (0o755, data),
        "日本/ß.py": (0o644, b"x" * 700),
        "e" * 200 + "/f": (0o644, b""),
    }
    assert await joined(contents.stream_file(found, "run.sh")) == data
    assert await joined(contents.stream_file(found, "日本/ß.py")) == b"x" * 700
    assert await joined(contents.stream_file(found, "e" * 200 + "/f")) == b""
    with pytest.raises(NotFound):
        contents.stream_file(found, "other")


async def test_the_same_is_stored_once_in_any_order(
    contents: StoredContents, blobs: MemoryBlobs, database: Database
) -> None:
    files = [BundleFile(f"{number}.py", bytes([number]) * 10_000) for number in range(20)]
    first = await contents.put_bundle(files)
    assert await contents.put_bundle(files[::-1]) == first
    assert await contents.put_file("a", b"x") == await contents.put_file("a", b"x")
    assert (await count(database, table), len(blobs.blobs)) == (2, 1)


async def test_names_modes_and_kinds_make_a_difference(contents: StoredContents) -> None:
    made = [
        await contents.put_file("a", b"x"),
        await contents.put_file("b", b"x"),
        await contents.put_file("a", b"x", mode=0o755),
        await contents.put_bundle([BundleFile("a", b"x")]),
        await contents.put_bundle([BundleFile("a", b"x"), BundleFile("b", b"")]),
        await contents.put_bundle([BundleFile("a", b""), BundleFile("b", b"x")]),
    ]
    assert len({content.sha256 for content in made}) == len(made)
    # A file with the bytes of a stored archive is another content.
    bundle = await contents.get(made[3].sha256)
    assert (await contents.put_file("a", await contents.read(bundle))).sha256 != bundle.sha256


async def test_many_uploads_of_the_same_at_once(
    contents: StoredContents, blobs: MemoryBlobs, database: Database
) -> None:
    data = os.urandom(INLINE_BYTES * 2)
    stored = await asyncio.gather(*(contents.put_file("a", data) for _ in range(20)))
    assert len({content.sha256 for content in stored}) == 1
    assert len({content.blob_key for content in stored}) == 1
    assert list(blobs.blobs) == [stored[0].blob_key]
    assert await count(database, table) == 1


async def test_a_new_upload_never_shares_the_key_of_an_old_one(
    contents: StoredContents, blobs: MemoryBlobs, database: Database
) -> None:
    data = os.urandom(INLINE_BYTES + 1)
    first = await contents.put_file("a", data)
    async with database.writing() as connection:
        await connection.execute(table.delete())
    second = await contents.put_file("a", data)
    assert first.blob_key is not None
    await blobs.delete([first.blob_key])
    assert await contents.read(second) == data


async def test_failures_leave_no_row(
    contents: StoredContents, blobs: MemoryBlobs, database: Database
) -> None:
    blobs.failing.add("put")
    with pytest.raises(BlobError):
        await contents.put_file("a", bytes(INLINE_BYTES + 1))
    full = StoredContents(database, MemoryBlobs(capacity_bytes=10))
    with pytest.raises(NoSpace):
        await full.put_bundle([BundleFile("a", bytes(INLINE_BYTES + 1))])
    assert await count(database, table) == 0


@pytest.mark.parametrize("path", ["../a", "/a", "", "a/../../b", "a\0"])
async def test_paths_that_lead_out_are_refused(contents: StoredContents, path: str) -> None:
    with pytest.raises(InvalidPath):
        await contents.put_file(path, b"x")
    with pytest.raises(InvalidPath):
        await contents.put_bundle([BundleFile("ok", b""), BundleFile(path, b"x")])


async def test_paths_that_exclude_each_other_are_refused(contents: StoredContents) -> None:
    for pair in (("a", "./a"), ("a", "a/b")):
        with pytest.raises(InvalidPath):
            await contents.put_bundle([BundleFile(path, b"") for path in pair])


async def test_what_is_not_there_is_not_found(contents: StoredContents) -> None:
    with pytest.raises(NotFound):
        await contents.get("0" * 64)
