"""A console that is followed: each line once, whole and escaped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.sandbox.machines.console import ConsoleFollower
from emberbox.vmm.boots.guest_text import WIDTH

if TYPE_CHECKING:
    from pathlib import Path


async def until(lines: list[str], count: int) -> None:
    for _ in range(6000):
        if len(lines) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(lines)


async def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "console.log"
    follower = ConsoleFollower(path, lines.append)
    await asyncio.sleep(0.1)
    with path.open("ab", buffering=0) as console:
        console.write(b"first\r\nsecond\r\nhalf of the ")
        await until(lines, 2)
        console.write(b"third\x1b[2J\r\n\xe2\x82")
        await until(lines, 3)
        console.write(b"\xac and \xff\r\nthe last words")
    await follower.close()
    await follower.close()
    assert lines == [
        "first",
        "second",
        "half of the third\\x1b[2J",
        "\N{EURO SIGN} and \N{REPLACEMENT CHARACTER}",
        "the last words",
    ]


async def test_what_was_written_just_before_the_end_is_not_lost(tmp_path: Path) -> None:
    lines: list[str] = []
    follower = ConsoleFollower(tmp_path / "console.log", lines.append)
    (tmp_path / "console.log").write_bytes(b"".join(b"%d\r\n" % number for number in range(20_000)))
    await follower.close()
    assert lines == [str(number) for number in range(20_000)]


async def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "console.log").write_bytes(b"x" * 1_000_000)
    follower = ConsoleFollower(tmp_path / "console.log", lines.append)
    await until(lines, 1)
    await follower.close()
    assert all(len(line) <= WIDTH for line in lines)


async def test_a_console_that_never_was_is_no_error(tmp_path: Path) -> None:
    follower = ConsoleFollower(tmp_path / "none", lambda _: None)
    await asyncio.sleep(0.1)
    await follower.close()
