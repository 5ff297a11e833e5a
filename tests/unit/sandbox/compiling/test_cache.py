"""Compiled programs on the host's disk."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import CompileSettings
from emberbox.files.atomic import PARTIAL
from emberbox.model import MIB
from emberbox.sandbox.compiling import cache as compile_cache
from emberbox.sandbox.compiling.cache import CompileCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ABOUT = {"kind": "file", "stdout": ""}


def cache(folder: Path, scope: str | None = "one", *made_by: str, **settings: Any) -> CompileCache:
    return CompileCache(folder / "compiled", CompileSettings(**settings), scope, *(made_by or ("image",)))


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def read(programs: CompileCache, key: str) -> bytes | None:
    found = await programs.find(key)
    if found is None:
        return None
    assert found.about == ABOUT
    return b"".join([piece async for piece in found.pieces()])


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "compiled").rglob("*") if path.is_file())


async def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    programs, content = cache(tmp_path), os.urandom(3 * MIB + 17)
    key = programs.key("argv", "digest")
    assert await read(programs, key) is None
    assert await programs.store(key, ABOUT, pieces(content[:100], content[100:]))
    assert await read(cache(tmp_path), key) == content
    assert (tmp_path / "compiled").stat().st_mode & 0o077 == 0 or files(tmp_path)[
        0
    ].stat().st_mode & 0o077 == 0


async def test_nobody_sees_the_programs_of_another_scope(tmp_path: Path) -> None:
    key = cache(tmp_path).key("x")
    await cache(tmp_path).store(key, ABOUT, pieces(b"mine"))
    for scope in ("two", None, "own", "", "../one"):
        assert await read(cache(tmp_path, scope), key) is None
    assert await read(cache(tmp_path), key) == b"mine"


def test_keys_tell_apart_what_differs(tmp_path: Path) -> None:
    programs = cache(tmp_path)
    keys = {
        programs.key("a", "b"),
        programs.key("ab"),
        programs.key("a,b"),
        programs.key(["a", "b"]),
        programs.key("b", "a"),
        cache(tmp_path, "one", "other image").key("a", "b"),
    }
    assert len(keys) == 6
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "grow", "text"])
async def test_a_damaged_entry_is_none_and_goes(tmp_path: Path, damage: str) -> None:
    programs = cache(tmp_path)
    await programs.store("k" * 64, ABOUT, pieces(b"x" * 1000))
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "flip": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:],
            "cut": whole[:-1],
            "empty": b"",
            "grow": whole + b"x",
            "text": b"hello\n",
        }[damage]
    )
    assert await programs.find("k" * 64) is None
    assert files(tmp_path) == []


async def test_what_is_too_large_or_breaks_off_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError("gone")

    monkeypatch.setattr(compile_cache, "ENTRY_BYTES", 100)
    programs = cache(tmp_path)
    assert not await programs.store("a", ABOUT, pieces(b"x" * 60, b"x" * 60))
    with pytest.raises(OSError, match="gone"):
        await programs.store("b", ABOUT, broken())
    task = asyncio.create_task(programs.store("c", ABOUT, _endless()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def _endless() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.Event().wait()


async def test_a_disk_that_refuses_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "compiled").write_text("a file in the way")
    programs = cache(tmp_path)
    assert not await programs.store("a", ABOUT, pieces(b"x"))
    assert await programs.find("a") is None


async def test_the_least_used_goes_first(tmp_path: Path) -> None:
    programs = cache(tmp_path, cache_mib=6)
    for number, key in enumerate(("a", "b")):
        await programs.store(key, ABOUT, pieces(b"x" * MIB))
        os.utime(tmp_path / "compiled" / programs._folder.name / key, (0, time.time() - 1000 + number))
    assert await read(programs, "a") is not None
    await programs.store("c", ABOUT, pieces(b"x" * MIB))
    assert [path.name for path in files(tmp_path)] == ["a", "c"], (
        "three do not fit into half of 6 MiB with their heads"
    )


async def test_one_scope_leaves_room_for_others(tmp_path: Path) -> None:
    quiet, greedy = cache(tmp_path, "quiet", cache_mib=8), cache(tmp_path, "greedy", cache_mib=8)
    await quiet.store("q", ABOUT, pieces(b"x" * MIB))
    for number in range(12):
        await greedy.store(f"g{number}", ABOUT, pieces(b"x" * MIB))
    assert await read(quiet, "q") is not None
    assert await read(greedy, "g11") is not None
    assert len(files(tmp_path)) == 4


async def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    programs = cache(tmp_path, cache_age_s=100)
    await programs.store("old", ABOUT, pieces(b"x"))
    await programs.store("older", ABOUT, pieces(b"x"))
    for path in files(tmp_path):
        os.utime(path, (0, time.time() - 200))
    half = files(tmp_path)[0].with_name(f"{PARTIAL}dead")
    half.write_bytes(b"half")
    os.utime(half, (0, time.time() - 7200))
    assert await programs.find("old") is None
    await programs.store("new", ABOUT, pieces(b"x"))
    assert [path.name for path in files(tmp_path)] == ["new"]


async def test_an_entry_that_is_removed_meanwhile_is_read_to_its_end(tmp_path: Path) -> None:
    programs = cache(tmp_path)
    await programs.store("a", ABOUT, pieces(b"x" * 3 * MIB))
    found = await programs.find("a")
    assert found is not None
    found.drop()
    assert sum([len(piece) async for piece in found.pieces()]) == 3 * MIB


async def test_many_store_the_same_at_once(tmp_path: Path) -> None:
    content = os.urandom(200_000)
    stored = await asyncio.gather(*(cache(tmp_path).store("a", ABOUT, pieces(content)) for _ in range(8)))
    assert stored == [True] * 8
    assert await read(cache(tmp_path), "a") == content
    assert len(files(tmp_path)) == 1
