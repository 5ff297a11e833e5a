"""What every blob store must do."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

from emberbox.blobs import open_blobs
from emberbox.blobs.base import PIECE_BYTES
from emberbox.config import BlobSettings
from emberbox.errors import BlobError, InvalidPath, NotFound
from emberbox.model import MIB
from tests.contract.blobs.conftest import ACCESS, SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from emberbox.blobs import BlobStore

KEY = "artifacts/job_01k/abc"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def streamed(store: BlobStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.stream(key, offset=offset, length=length)])


async def keys(store: BlobStore, prefix: str = "") -> set[str]:
    return {info.key async for info in store.list(prefix)}


@pytest.mark.parametrize(
    "data", [b"", b"x", b"line\n" * 1000, bytes(range(256)) * 40_000], ids=["empty", "byte", "text", "10MB"]
)
async def test_bytes_come_back_as_they_went_in(store: BlobStore, data: bytes) -> None:
    assert await store.put(KEY, data) == len(data)
    assert await store.get(KEY) == data
    assert await store.size(KEY) == len(data)
    assert await streamed(store, KEY) == data


@pytest.mark.parametrize(
    "parts",
    [(), (b"",), (b"a", b"", b"bc"), (b"x" * 3_000_000,) * 7],
    ids=["none", "an empty one", "small ones", "large ones"],
)
async def test_a_stream_is_stored_whole(store: BlobStore, parts: tuple[bytes, ...]) -> None:
    assert await store.put(KEY, pieces(*parts)) == sum(map(len, parts))
    assert await store.get(KEY) == b"".join(parts)


@pytest.mark.parametrize("size", [0, 5, 20_000_000])
async def test_a_file_is_stored_whole(store: BlobStore, tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    assert await store.put(KEY, file) == size
    assert hashlib.sha256(await store.get(KEY)).digest() == hashlib.sha256(file.read_bytes()).digest()


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, 4, b"3456"),
        (9, None, b"9"),
        (8, 100, b"89"),
        (0, 0, b""),
        (10, None, b""),
        (11, 5, b""),
    ],
)
async def test_a_part_can_be_read(store: BlobStore, offset: int, length: int | None, expected: bytes) -> None:
    await store.put(KEY, b"0123456789")
    assert await streamed(store, KEY, offset, length) == expected


async def test_large_blobs_come_in_pieces_that_fit_in_memory(store: BlobStore) -> None:
    data = os.urandom(PIECE_BYTES * 2 + 100)
    await store.put(KEY, data)
    sizes = [len(piece) async for piece in store.stream(KEY)]
    assert sum(sizes) == len(data)
    assert max(sizes) <= PIECE_BYTES
    assert (
        await streamed(store, KEY, PIECE_BYTES - 10, PIECE_BYTES)
        == data[PIECE_BYTES - 10 : 2 * PIECE_BYTES - 10]
    )


async def test_a_stream_may_be_left(store: BlobStore) -> None:
    await store.put(KEY, bytes(PIECE_BYTES + 1))
    async with aclosing(cast("AsyncGenerator[bytes, None]", store.stream(KEY))) as stream:
        assert 0 < len(await anext(stream)) <= PIECE_BYTES
    assert await store.size(KEY) == PIECE_BYTES + 1


async def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    with pytest.raises(NotFound):
        await store.get("logs/job_1/1")
    with pytest.raises(NotFound):
        await store.size("logs/job_1/1")
    with pytest.raises(NotFound):
        await streamed(store, "logs/job_1/1")


async def test_a_bucket_that_is_not_there_and_a_key_that_is_refused_are_told(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": SECRET, "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    await _refused(
        BlobSettings(url="s3://nowhere", endpoint=s3_endpoint), tmp_path, "the bucket .* does not exist"
    )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    await _refused(BlobSettings(url="s3://blobs", endpoint=s3_endpoint), tmp_path, "refuses access")


async def _refused(settings: BlobSettings, data: Path, message: str) -> None:
    store = open_blobs(settings, data)
    with pytest.raises(BlobError, match=message):
        await store.put(KEY, b"x")
    with pytest.raises(BlobError, match=message):
        await keys(store)
    await store.close()


async def test_deleting_takes_what_is_there_and_minds_nothing_else(store: BlobStore) -> None:
    for number in range(5):
        await store.put(f"logs/job_{number}/1", b"x")
    await store.delete(["logs/job_1/1", "logs/none/1", "logs/job_3/1", "logs/job_3/2"])
    await store.delete(["logs/job_1/1"])
    await store.delete([])
    assert await keys(store) == {"logs/job_0/1", "logs/job_2/1", "logs/job_4/1"}


async def test_a_listing_tells_key_size_and_time(store: BlobStore) -> None:
    begun = time.time_ns() // 1000
    await store.put("contents/aa/1", b"123")
    await store.put("contents/ab/1", b"")
    await store.put("logs/job_1/1", b"12345")
    infos = {info.key: info async for info in store.list("contents")}
    assert {key: info.size for key, info in infos.items()} == {"contents/aa/1": 3, "contents/ab/1": 0}
    # S3 tells whole seconds.
    assert all(begun - 2_000_000 <= info.modified_at_us <= begun + 60_000_000 for info in infos.values())
    assert await keys(store, "contents/a") == set(), "a prefix is whole parts"
    assert await keys(store, "contents/aa") == {"contents/aa/1"}
    assert await keys(store, "artifacts") == set()
    assert len(await keys(store)) == 3


async def test_long_listings_are_whole(store: BlobStore) -> None:
    await asyncio.gather(*(store.put(f"logs/job_{number}/1", b"x") for number in range(1100)))
    assert len(await keys(store, "logs")) == 1100
    await store.delete([f"logs/job_{number}/1" for number in range(1100)])
    assert await keys(store) == set()


class Broken(Exception):
    """What a source may raise."""


async def breaking(after: int) -> AsyncIterator[bytes]:
    for _ in range(after):
        yield bytes(MIB)
    raise Broken


@pytest.mark.parametrize("after", [0, 1, 20])
async def test_a_source_that_breaks_leaves_nothing(store: BlobStore, after: int) -> None:
    with pytest.raises(Broken):
        await store.put(KEY, breaking(after))
    assert await keys(store) == set()
    with pytest.raises(NotFound):
        await store.get(KEY)


async def test_a_put_that_is_cancelled_leaves_nothing(store: BlobStore) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1000):
            if number == 20:
                reached.set()
                await asyncio.sleep(3600)
            yield bytes(MIB)

    task = asyncio.create_task(store.put(KEY, endless()))
    await reached.wait()
    assert await keys(store) == set(), "a part of it shows"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await keys(store) == set()
    await store.put(KEY, b"now")
    assert await store.get(KEY) == b"now"


WRONG_KEYS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    "a/.b",
    "A/b",
    "a b",
    "a/b#1",
    "a\0b",
    "a\n",
    "ä",
]


@pytest.mark.parametrize("key", [*WRONG_KEYS, "a/" * 9 + "a", "a" * 201])
async def test_only_our_own_keys_are_taken(store: BlobStore, key: str) -> None:
    for call in (
        store.put(key, b"x"),
        store.get(key),
        store.size(key),
        store.delete([key]),
        streamed(store, key),
    ):
        with pytest.raises(InvalidPath):
            await call


async def test_many_at_once(store: BlobStore) -> None:
    data = {f"contents/{number:02}/x": os.urandom(100_000) for number in range(40)}
    await asyncio.gather(*(store.put(key, pieces(value)) for key, value in data.items()))
    read = await asyncio.gather(*(streamed(store, key) for key in data))
    assert read == list(data.values())


async def test_tidying_takes_nothing_that_is_whole(store: BlobStore) -> None:
    await store.put(KEY, b"x")
    await store.tidy(0)
    assert await store.get(KEY) == b"x"


async def test_a_closed_store_says_so(store: BlobStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(BlobError):
        await store.get(KEY)
