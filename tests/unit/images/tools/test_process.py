from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import ImageBuildFailed, NoSpace
from emberbox.images.tools.process import KEPT_BYTES, run_capture, run_tool
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # as it is read
        return False


async def test_lines_and_the_end_of_the_output_are_kept() -> None:
    lines: list[str] = []
    output = await run_tool(
        python("for i in range(5000): print('line', i)"),
        what="count",
        timeout_s=PATIENCE_S,
        on_line=lines.append,
    )
    assert lines[0] == "line 0" and lines[-1] == "line 4999" and len(lines) == 5000
    assert output.endswith("line 4999\n") and len(output) <= KEPT_BYTES


async def test_standard_input_and_output_can_be_files(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"hello")
    code = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('news')"
    kept = await run_tool(
        python(code), what="shout", timeout_s=PATIENCE_S, stdin=tmp_path / "in", stdout=tmp_path / "out"
    )
    assert (tmp_path / "out").read_bytes() == b"HELLO" and kept == "news"
    assert await run_capture(python("print('x' * 10000)"), what="print") == "x" * 10000 + "\n"


async def test_failures_say_what_and_keep_the_output() -> None:
    with pytest.raises(ImageBuildFailed, match=r"could not do it: .* ended with code 3: second") as caught:
        await run_tool(python("print('first'); print('second'); exit(3)"), what="do it", timeout_s=PATIENCE_S)
    assert caught.value.detail == "first\nsecond\n"
    with pytest.raises(ImageBuildFailed, match="does not start"):
        await run_tool(["/no/such/program"], what="do it", timeout_s=1)


async def test_a_full_disk_is_its_own_error() -> None:
    with pytest.raises(NoSpace, match="disk is full"):
        await run_tool(
            python("print('tar: x: No space left on device'); exit(1)"), what="do it", timeout_s=PATIENCE_S
        )


def with_a_child(file: Path) -> list[str]:
    """A tool that says in a file which child it has, and waits for it."""
    return ["/bin/sh", "-c", f"sleep 3600 & echo $! >{file}; wait"]


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def started(file: Path) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while not (text := read(file)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return int(text)


async def gone(pid: int) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        while alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


async def cancel_once_started(file: Path) -> int:
    """Cancel a tool that has a child by now; returns the child's pid."""
    task = asyncio.create_task(run_tool(with_a_child(file), what="wait", timeout_s=3600))
    pid = await started(file)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return pid


async def test_cancelling_ends_the_tool_and_its_children(tmp_path: Path) -> None:
    assert await gone(await cancel_once_started(tmp_path / "pid"))


async def test_cancelling_while_it_starts_ends_its_children_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pid"
    create = asyncio.create_subprocess_exec

    async def slow(*argv: str, **options: Any) -> asyncio.subprocess.Process:
        process = await create(*argv, **options)
        await started(file)
        await asyncio.sleep(0.1)
        return process

    monkeypatch.setattr("asyncio.create_subprocess_exec", slow)
    assert await gone(await cancel_once_started(file))


async def test_a_tool_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(ImageBuildFailed, match="not done within 2 s"):
        await run_tool(with_a_child(file), what="wait", timeout_s=2)
    assert await gone(await started(file))


async def test_a_child_that_outlives_its_tool_is_ended(tmp_path: Path) -> None:
    spawned = "subprocess.Popen(['sleep', '99'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"
    code = f"import subprocess; print({spawned}.pid)"
    pid = int(await run_tool(python(code), what="leave a child", timeout_s=PATIENCE_S))
    assert pid != os.getpid() and await gone(pid)
