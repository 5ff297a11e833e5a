from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import VmmDied, VmmTimeout
from emberbox.vmm.firecracker.channel import connect_agent
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from asyncio import Server, StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def alive() -> bool:
    return True


async def serve(path: Path, handle: Callable[[StreamReader, StreamWriter], Awaitable[None]]) -> Server:
    return await asyncio.start_unix_server(handle, path)


async def test_what_follows_the_answer_is_the_agents(tmp_path: Path) -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        assert await reader.readline() == b"CONNECT 1024\n"
        writer.write(b"OK 1073741824\nhello")
        assert await reader.readexactly(4) == b"echo"
        writer.write(b"echo")
        writer.close()

    async with await serve(tmp_path / "v.sock", handle):
        reader, writer = await connect_agent(tmp_path / "v.sock", alive=alive, timeout_s=PATIENCE_S)
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"echo")
        assert await reader.read() == b"echo"
        writer.close()
        await writer.wait_closed()


async def test_it_tries_again_until_somebody_listens(tmp_path: Path) -> None:
    path = tmp_path / ("deep" * 40) / "v.sock"
    path.parent.mkdir()
    tries = 0

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await reader.readline()
        if tries == 2:
            writer.write(b"OK 1\n")
        if tries == 3:
            writer.write(b"OK 1\nhello")
        writer.close()

    connecting = asyncio.create_task(connect_agent(path, alive=alive, timeout_s=PATIENCE_S))
    await asyncio.sleep(0.05)
    folder = os.open(path.parent, os.O_PATH)
    async with await serve(f"/proc/self/fd/{folder}/v.sock", handle):  # type: ignore[arg-type]
        _, writer = await connecting
        assert tries == 3
        writer.close()
        await writer.wait_closed()
    os.close(folder)


async def test_it_gives_up_in_time_and_when_the_vmm_has_ended(tmp_path: Path) -> None:
    async def silent(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read()
        writer.close()

    with pytest.raises(VmmTimeout, match="port 1024"):
        await connect_agent(tmp_path / "v.sock", alive=alive, timeout_s=0.05)
    async with await serve(tmp_path / "v.sock", silent):
        with pytest.raises(VmmTimeout):
            await connect_agent(tmp_path / "v.sock", alive=alive, timeout_s=0.1)
    with pytest.raises(VmmDied):
        await connect_agent(tmp_path / "v.sock", alive=lambda: False, timeout_s=PATIENCE_S)


@pytest.mark.parametrize("answer", [b"NO 1\n", b"OK\n", b"OK x\n", b"OK " + b"1" * 40, b"O" * 64])
async def test_a_stranger_is_not_taken_for_firecracker(tmp_path: Path, answer: bytes) -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    async with await serve(tmp_path / "v.sock", handle):
        with pytest.raises(VmmDied, match="not Firecracker"):
            await connect_agent(tmp_path / "v.sock", alive=alive, timeout_s=PATIENCE_S)


async def test_a_link_in_place_of_the_socket_leads_nowhere(tmp_path: Path) -> None:
    reached = False

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal reached
        reached = True
        writer.close()

    async with await serve(tmp_path / "other.sock", handle):
        (tmp_path / "v.sock").symlink_to(tmp_path / "other.sock")
        with pytest.raises(VmmDied, match="not what Firecracker made"):
            await connect_agent(tmp_path / "v.sock", alive=alive, timeout_s=PATIENCE_S)
        assert not reached
    (tmp_path / "file").write_text("")
    with pytest.raises(VmmDied, match="not what Firecracker made"):
        await connect_agent(tmp_path / "file", alive=alive, timeout_s=PATIENCE_S)
