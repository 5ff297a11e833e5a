"""What jobs leave behind, collected from the real agent."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from emberbox.config import JobSettings, Settings
from emberbox.errors import GuestGone, NotFound
from emberbox.ids import new_id
from emberbox.model import FileEntry
from emberbox.service.jobs.running.artifacts import Artifacts, Collected
from emberbox.store.records import JobRecord, JobSpec
from emberbox.store.tables import artifacts as table
from emberbox.testing.engine import HostEngine
from tests.storing import boundless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emberbox.sandbox.sandbox import Sandbox
    from emberbox.store import Database
    from emberbox.testing import MemoryBlobs
    from tests.storing import StoredContents

BOUNDS = JobSettings(artifact_bytes=1_000_000, artifact_files=5)


@pytest.fixture
def database_kind() -> str:
    """Collecting reads no database."""
    return "sqlite"


@pytest.fixture
async def sandbox(settings: Settings) -> AsyncIterator[Sandbox]:
    async with HostEngine(settings) as engine, engine.sandbox("bash") as opened:
        yield opened


@pytest.fixture
def artifacts(database: Database, blobs: MemoryBlobs, settings: Settings) -> Artifacts:
    return Artifacts(database, blobs, replace(settings, jobs=BOUNDS))


@pytest.fixture
async def collect(
    artifacts: Artifacts, sandbox: Sandbox, contents: StoredContents, make_job: Callable[..., Any]
) -> Callable[..., Any]:
    async def collect(*patterns: str, source: Any = None, **options: Any) -> Collected:
        job: JobRecord = await make_job((await contents.put_file("a", b"x")).sha256)
        job = replace(job, spec=JobSpec(artifacts=list(patterns)))
        return await artifacts.collect(sandbox if source is None else source, job, boundless(), **options)

    return collect


async def shell(sandbox: Sandbox, program: str) -> None:
    result = await sandbox.command(["sh", "-c", program])
    assert result.ok, result.stderr


def paths(collected: Collected) -> list[str]:
    return [record.path for record in collected.records]


async def test_files_are_kept_whole(
    sandbox: Sandbox, collect: Callable[..., Any], blobs: MemoryBlobs
) -> None:
    files = {
        "result.json": b"{}",
        "out/a.bin": os.urandom(300_000),
        "out/deep/er/b": b"",
        "other": b"no",
        "日本/ß.txt": b"ja",
    }
    for name, data in files.items():
        await sandbox.write_file(name, data)
    collected = await collect("result.json", "out/**", "**/*.txt")
    assert paths(collected) == ["out/a.bin", "out/deep/er/b", "result.json", "日本/ß.txt"]
    assert collected.notes == []
    for record in collected.records:
        assert blobs.blobs[record.blob_key] == files[record.path]
        assert (record.size, record.sha256) == (
            len(files[record.path]),
            hashlib.sha256(files[record.path]).hexdigest(),
        )
    assert len({record.id for record in collected.records}) == 4


async def test_what_the_patterns_mean(sandbox: Sandbox, collect: Callable[..., Any]) -> None:
    for name in ("a.txt", "b.log", ".hidden", "out/c.txt", "out/in/d.txt"):
        await sandbox.write_file(name, b"x")
    cases = {
        ("*.txt",): ["a.txt"],
        ("*",): [".hidden", "a.txt", "b.log"],
        ("out",): ["out/c.txt", "out/in/d.txt"],
        ("out/*",): ["out/c.txt"],
        ("**/*.txt", "a.txt", "*.txt"): ["a.txt", "out/c.txt", "out/in/d.txt"],
        ("none", "none/*", "*/none", "a.txt/x"): [],
    }
    for patterns, expected in cases.items():
        assert paths(await collect(*patterns)) == expected, patterns


async def test_links_devices_and_folders_are_passed_over(
    sandbox: Sandbox, collect: Callable[..., Any]
) -> None:
    await shell(sandbox, "echo x >a; ln -s a b; ln -s /etc etc; mkdir folder; mkfifo pipe")
    assert paths(await collect("**")) == ["a"]
    assert paths(await collect("pipe", "folder", "etc/passwd/none", "*b")) == []
    assert paths(await collect("b")) == ["b"], "a link that is named outright"


async def test_hostile_names_take_a_harmless_form(sandbox: Sandbox, collect: Callable[..., Any]) -> None:
    for name in (r"a\nb", r"\377\376", r"\033[31m", r'"\\;rm'):
        await shell(sandbox, f"printf x >\"$(printf '{name}')\"")
    collected = await collect("*")
    assert sorted(paths(collected)) == ['"\\;rm', "\\x1b[31m", "\\xff\\xfe", "a\\x0ab"]
    assert {record.size for record in collected.records} == {1}


async def test_the_longest_paths(sandbox: Sandbox, collect: Callable[..., Any]) -> None:
    deep = "/".join(["d" * 250] * 15)
    await sandbox.write_file(f"{deep}/file", b"x")
    assert paths(await collect("**/file")) == [f"{deep}/file"]


async def test_bounds_of_files_and_bytes(
    sandbox: Sandbox, collect: Callable[..., Any], blobs: MemoryBlobs
) -> None:
    for number in range(8):
        await sandbox.write_file(f"{number}", b"x")
    collected = await collect("*")
    assert paths(collected) == ["0", "1", "2", "3", "4"]
    assert len(collected.notes) == 3
    assert "5 files" in collected.notes[0]
    blobs.blobs.clear()
    await shell(sandbox, "rm *; head -c 600000 /dev/zero >a; cp a b; head -c 400000 /dev/zero >c")
    collected = await collect("*")
    assert paths(collected) == ["a", "c"]
    assert "b was left out" in collected.notes[0]
    assert len(blobs.blobs) == 2


async def test_sparse_giants_are_not_read(
    sandbox: Sandbox, collect: Callable[..., Any], blobs: MemoryBlobs
) -> None:
    await shell(sandbox, "truncate -s 1T giant; echo ok >small")
    collected = await collect("*")
    assert paths(collected) == ["small"]
    assert "giant was left out" in collected.notes[0]
    assert len(blobs.blobs) == 1


class Lying:
    """A sandbox that says one thing and sends another."""

    def __init__(self, size: int, pieces: list[bytes | Exception], *, name: str = "file") -> None:
        self.entry = FileEntry(name=name, type="file", size=size, mode=0o644, mtime_ns=0)
        self.pieces = pieces
        self.closed = 0

    async def list_files(self, path: str = ".", **options: Any) -> list[FileEntry]:
        return [self.entry]

    async def stream_file(self, path: str, **options: Any) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1


async def test_a_file_that_grows_is_cut_off(collect: Callable[..., Any], blobs: MemoryBlobs) -> None:
    lying = Lying(10, [bytes(65_536)] * 100)
    collected = await collect("*", source=lying)
    assert collected.records == []
    assert "left out" in collected.notes[0]
    assert blobs.blobs == {}
    assert lying.closed == 1


async def test_a_file_that_shrinks_is_kept_as_it_is(collect: Callable[..., Any]) -> None:
    (record,) = (await collect("*", source=Lying(1000, [b"abc"]))).records
    assert (record.size, record.sha256) == (3, hashlib.sha256(b"abc").hexdigest())


async def test_an_agent_that_dies_leaves_what_was_whole(
    collect: Callable[..., Any], blobs: MemoryBlobs
) -> None:
    collected = await collect("*", source=Lying(1000, [b"abc", GuestGone("the stream ended")]))
    assert collected.records == []
    assert "could not be kept" in collected.notes[0]
    assert blobs.blobs == {}


async def test_a_sandbox_that_is_gone_is_a_note(sandbox: Sandbox, collect: Callable[..., Any]) -> None:
    await sandbox.close()
    collected = await collect("*")
    assert collected.records == []
    assert collected.notes


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "", "a//b", "x\0y", "x/" * 3000 + "y"])
async def test_names_that_no_listing_can_hold_are_passed_over(collect: Callable[..., Any], name: str) -> None:
    collected = await collect("**", source=Lying(1, [b"x"], name=name))
    assert collected.records == []


async def test_a_store_that_fails_is_a_note(
    sandbox: Sandbox, collect: Callable[..., Any], blobs: MemoryBlobs
) -> None:
    await sandbox.write_file("a", b"x")
    blobs.failing.add("put")
    collected = await collect("*")
    assert collected.records == []
    assert "a was left out" in collected.notes[0]


async def test_a_cancelled_collection_leaves_nothing(collect: Callable[..., Any], blobs: MemoryBlobs) -> None:
    reached = asyncio.Event()

    class Slow(Lying):
        async def list_files(self, path: str = ".", **options: Any) -> list[FileEntry]:
            return [self.entry, replace(self.entry, name="slow")]

        async def stream_file(self, path: str, **options: Any) -> AsyncIterator[bytes]:
            yield b"x"
            if path == "slow":
                reached.set()
                await asyncio.sleep(3600)

    task = asyncio.create_task(collect("*", source=Slow(1, [])))
    await reached.wait()
    assert len(blobs.blobs) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert blobs.blobs == {}


async def test_time_is_bounded(collect: Callable[..., Any]) -> None:
    class Silent(Lying):
        async def list_files(self, path: str = ".", **options: Any) -> list[FileEntry]:
            await asyncio.sleep(3600)
            return []

    collected = await collect("*", source=Silent(1, []), within_s=0.1)
    assert "longer than 0.1 s" in collected.notes[0]


async def test_rows_are_found_by_their_job_alone(
    sandbox: Sandbox, collect: Callable[..., Any], artifacts: Artifacts, database: Database
) -> None:
    await sandbox.write_file("a", b"123")
    (record,) = (await collect("a")).records
    assert await artifacts.list(record.job_id) == []
    async with database.writing() as connection:
        await connection.execute(
            insert(table).values(**{column.name: getattr(record, column.name) for column in table.columns})
        )
    assert await artifacts.list(record.job_id) == [record]
    assert await artifacts.get(record.job_id, record.id) == record
    assert b"".join([piece async for piece in artifacts.stream(record)]) == b"123"
    assert b"".join([piece async for piece in artifacts.stream(record, offset=1, length=1)]) == b"2"
    for job_id, artifact_id in (
        (new_id("job"), record.id),
        (record.job_id, new_id("art")),
        (record.job_id, "x"),
    ):
        with pytest.raises(NotFound):
            await artifacts.get(job_id, artifact_id)


async def test_discarding_never_fails(
    sandbox: Sandbox, collect: Callable[..., Any], artifacts: Artifacts, blobs: MemoryBlobs
) -> None:
    await sandbox.write_file("a", b"x")
    collected = await collect("a")
    blobs.failing.add("delete")
    await artifacts.discard(collected)
    blobs.failing.clear()
    await artifacts.discard(collected)
    await artifacts.discard(collected)
    assert blobs.blobs == {}
