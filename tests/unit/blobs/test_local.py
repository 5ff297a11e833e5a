"""What the local store does besides its contract."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from emberbox.blobs.local import LocalBlobs
from emberbox.errors import BlobError, NoSpace
from emberbox.model import MIB
from tests.patience import PATIENCE_S
from tests.unit.blobs.mounts import small_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KILLED = """
import asyncio, sys
from pathlib import Path
from emberbox.blobs.local import LocalBlobs

async def pieces():
    for _ in range(30):
        yield bytes(1 << 20)
    print("half", flush=True)
    await asyncio.sleep(3600)

asyncio.run(LocalBlobs(Path(sys.argv[1])).put("contents/a/b", pieces()))
"""


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def listed(store: LocalBlobs) -> list[str]:
    return [info.key async for info in store.list()]


async def test_a_killed_process_leaves_nothing_that_shows_and_tidying_removes_the_rest(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert await asyncio.to_thread(process.stdout.readline) == b"half\n"
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    store = LocalBlobs(tmp_path)
    assert await listed(store) == []
    assert len(files(tmp_path)) == 1, "the half that was written"
    assert await store.tidy(3600) == 0, "it may still be written to"
    old = time.time() - 4000
    os.utime(tmp_path / files(tmp_path)[0], (old, old))
    assert await store.tidy(3600) == 1
    assert files(tmp_path) == []
    await store.close()


async def test_no_empty_folders_are_left(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)
    keys = [f"logs/job_{number}/1" for number in range(50)]
    await asyncio.gather(*(store.put(key, b"x") for key in keys))
    await store.delete(keys)
    assert list(tmp_path.iterdir()) == []
    await store.close()


async def test_puts_and_deletes_side_by_side(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)

    async def rounds(number: int) -> None:
        for turn in range(20):
            await store.put(f"contents/shared/{number}-{turn}", b"x")
            await store.delete([f"contents/shared/{number}-{turn}"])

    await asyncio.gather(*(rounds(number) for number in range(6)))
    assert files(tmp_path) == []
    await store.close()


async def test_only_the_owner_can_look_in(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "deep" / "blobs")
    assert (tmp_path / "deep" / "blobs").stat().st_mode & 0o777 == 0o700
    await store.close()


async def test_memory_stays_bounded(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(MIB)

    tracemalloc.start()
    try:
        await store.put("contents/a/b", pieces())
        read = 0
        async for piece in store.stream("contents/a/b"):
            read += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == 100 * MIB
    assert peak < 24 * MIB
    await store.close()


async def test_a_full_disk_says_so_and_nothing_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=4) as disk:
        store = LocalBlobs(disk / "blobs")
        await store.put("logs/job_1/1", b"kept")
        with pytest.raises(NoSpace, match="full"):
            await store.put("contents/a/b", bytes(8 * MIB))

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield bytes(MIB)

        with pytest.raises(NoSpace, match="full"):
            await store.put("contents/a/c", pieces())
        assert await listed(store) == ["logs/job_1/1"]
        assert files(disk) == ["blobs/logs/job_1/1"]
        await store.put("contents/a/d", bytes(MIB))
        await store.close()


async def test_a_folder_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs")
    (tmp_path / "blobs").rmdir()
    (tmp_path / "blobs").write_text("a file now")
    with pytest.raises(BlobError) as caught:
        await store.put("logs/job_1/1", b"x")
    assert str(tmp_path) not in caught.value.message
    await store.close()
