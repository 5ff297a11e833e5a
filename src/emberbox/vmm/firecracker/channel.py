r"""The way to the agent: a connection to Firecracker's vsock socket, asked through to a port of the guest.

Source: Firecracker's docs/vsock.md. The host writes `CONNECT <port>\n`; once the guest has
accepted, Firecracker answers `OK <port>\n`, and everything after it is the agent's stream. Where
nobody listens yet, the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import VmmDied, VmmTimeout
from emberbox.vmm.process import sockets

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable

PORT = 1024
"""vsock port on which the agent listens."""
_LONGEST = 32
_ATTEMPT_S = 10.0
_PAUSES_S = (0.001, 0.05)
_OK = re.compile(rb"OK [0-9]{1,10}\n")


async def connect_agent(
    path: Path, *, alive: Callable[[], bool], timeout_s: float
) -> tuple[StreamReader, StreamWriter]:
    """Connect to the agent, trying again until it listens.

    Args:
        path: Firecracker's vsock socket.
        alive: Whether the VMM lives.
        timeout_s: When to give up, in seconds.

    Raises:
        VmmDied: The VMM has ended, or its socket is not what it must be.
        VmmTimeout: Nobody listened in time.
    """
    pause_s, longest_s = _PAUSES_S
    try:
        async with asyncio.timeout(timeout_s):
            while alive():
                connection = await _attempt(path)
                if connection is not None:
                    return await sockets.streams(connection)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, longest_s)
    except TimeoutError as error:
        raise VmmTimeout(
            f"nobody in the guest took a connection on vsock port {PORT} within {timeout_s:g} s; its "
            "console log tells more"
        ) from error
    raise VmmDied("the virtual machine ended before its agent took the connection")


async def _attempt(path: Path) -> socket.socket | None:
    """Try once; None when nobody listens, or Firecracker is not that far."""
    client = _connected(path)
    if client is None:
        return None
    with contextlib.ExitStack() as unless_it_speaks:
        unless_it_speaks.enter_context(client)
        if not await _accepted(client) or not await _greeted(client):
            return None
        unless_it_speaks.pop_all()
    return client


async def _accepted(client: socket.socket) -> bool:
    """Ask for the agent's port; False when nobody listens there."""
    try:
        async with asyncio.timeout(_ATTEMPT_S):
            await asyncio.get_running_loop().sock_sendall(client, b"CONNECT %d\n" % PORT)
            answer = await _line(client)
    except (TimeoutError, OSError):
        return False
    if answer and _OK.fullmatch(answer) is None:
        raise VmmDied(f"what answered on the vsock socket is not Firecracker: {answer[:_LONGEST]!r}")
    return bool(answer)


async def _greeted(client: socket.socket) -> bool:
    """Wait until the agent has begun to speak; False when the connection was closed instead.

    A restored guest resets all of its connections in its first moments, and with them one that came
    too early.
    """
    await sockets.readable(client.fileno())
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _connected(path: Path) -> socket.socket | None:
    try:
        pinned = sockets.pin(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VmmDied(
            f"the vsock socket is not what Firecracker made: {error.strerror}", detail=str(path)
        ) from error
    try:
        return sockets.connect(Path(f"/proc/self/fd/{pinned}"))
    except OSError:
        return None
    finally:
        os.close(pinned)


async def _line(client: socket.socket) -> bytes:
    # Byte by byte: what follows the line belongs to the agent's stream. Empty when the connection was closed.
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST:
        byte = await loop.sock_recv(client, 1)
        if not byte:
            return b""
        line += byte
    return line
