"""Uploads as large as they may be, on real disks: whole, and in little memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest

from emberbox.blobs import open_blobs
from emberbox.config import BlobSettings, ServerSettings
from emberbox.errors import PayloadTooLarge
from emberbox.model import MIB
from emberbox.service.uploads.contents import Contents
from emberbox.service.uploads.intake import UploadPart, receive, scratch_folder
from emberbox.service.uploads.scripts import Scripts
from tests.accounts import key_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.blobs import BlobStore
    from emberbox.config import Settings
    from emberbox.runtimes import RuntimeCatalog
    from emberbox.store import Database

SIZE = 100 * MIB
MEMORY = 32 * MIB


@pytest.fixture
def database_kind() -> str:
    """The bytes lie elsewhere."""
    return "sqlite"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[BlobStore]:
    opened = open_blobs(BlobSettings(), tmp_path)
    yield opened
    await opened.close()


def spool(path: Path, *, packed: bool) -> str:
    """Write 100 MiB that do not compress; returns their hash."""
    piece, digest = os.urandom(MIB), hashlib.sha256()
    plain = path.with_suffix(".plain")
    with plain.open("wb") as stream:
        for number in range(100):
            part = piece[number:] + piece[:number]
            stream.write(part)
            digest.update(part)
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(plain, "data.bin")
            archive.writestr("main.py", "print(1)")
        plain.unlink()
    else:
        plain.rename(path)
    return digest.hexdigest()


@pytest.mark.parametrize("packed", [False, True], ids=["a file", "an archive"])
async def test_100_mib_go_in_and_come_out(
    tmp_path: Path,
    store: BlobStore,
    database: Database,
    runtimes: RuntimeCatalog,
    settings: Settings,
    *,
    packed: bool,
) -> None:
    contents = Contents(database, store)
    scripts, key = Scripts(database, contents, runtimes, settings), key_record()
    async with scratch_folder(tmp_path) as scratch:
        digest = await asyncio.to_thread(spool, scratch / "spooled", packed=packed)
        tracemalloc.start()
        try:
            name = "app.zip" if packed else "data.bin"
            upload = await receive([UploadPart(name, scratch / "spooled")], ServerSettings(), scratch)
            script = await scripts.create(key, upload, runtime="python", entry=None, name=None, labels={})
            _, content = await scripts.content(key, script.id)
            found = hashlib.sha256()
            async for piece in contents.stream_file(content, "data.bin"):
                found.update(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found.hexdigest() == digest
    assert script.size >= SIZE
    assert peak < MEMORY, f"{peak // MIB} MiB"
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_more_than_may_be_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    async with scratch_folder(tmp_path) as scratch:
        await asyncio.to_thread(spool, scratch / "spooled", packed=False)
        with pytest.raises(PayloadTooLarge, match="at most"):
            await receive(
                [UploadPart("data.bin", scratch / "spooled")], ServerSettings(upload_bytes=SIZE - 1), scratch
            )
