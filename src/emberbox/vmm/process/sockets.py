"""Unix sockets at paths of any length, and pairs of descriptors for a VMM that sees no folder."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from emberbox.files.descriptors import opened

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST = 107


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    # sun_path holds 108 bytes with its NUL, and a run folder may lie deep: go through a descriptor
    # of the folder.
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    with opened(path.parent, os.O_PATH | os.O_DIRECTORY) as folder:
        yield f"/proc/self/fd/{folder}/{path.name}"


def listen(path: Path) -> socket.socket:
    """Listen at a stream socket at `path` (mode 0600); connections queue until they are taken.

    Raises `OSError`, with nothing left behind.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(server.fileno(), 0o600)
        with _short(path) as address:
            server.bind(address)
        server.listen(4)
    except BaseException:
        server.close()
        raise
    return server


def connect(path: Path) -> socket.socket:
    """Connect to the socket at `path`; returns a socket that does not block. Raises `OSError`.

    Does not wait: either there is room in the queue of the listening socket, or the connection is refused.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    client.setblocking(False)
    try:
        with _short(path) as address:
            client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


async def streams(client: socket.socket) -> tuple[StreamReader, StreamWriter]:
    """Return the streams of a connected socket, which is theirs from then on, and closed on a failure."""
    try:
        return await asyncio.open_unix_connection(sock=client)
    except BaseException:
        client.close()
        raise


async def readable(descriptor: int) -> None:
    """Wait until there is something to read from `descriptor`, or its end. One caller at a time."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def pin(path: Path) -> int:
    """Return a descriptor that holds on to the socket at `path`, to be connected by `/proc/self/fd/N`.

    Raises `OSError`. For a socket in a folder that its VMM may write to: a link put in its place is
    refused, and what is connected is what was looked at.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), str(path))
    return descriptor
