"""The device: a socket for the VMM, and one for the hosts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from typing import TYPE_CHECKING

from .backend import Backend
from .messages import MessageStream
from .multiplexer import Multiplexer
from .queues import Queues

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

_CONNECT = re.compile(rb"CONNECT ([0-9]{1,10})\n")
_LONGEST_LINE = 32
_LINE_S = 60.0
_REQUEST_S = 60.0
_BACKLOG = 128
_RESET_S = 0.02
"""QEMU tells a restored guest to drop its connections right after it runs: those made before that
would be dropped as well."""


class VsockDevice:
    """One virtio-vsock device for QEMU.

    QEMU gets it by `-chardev socket,id=vsock,path=BACKEND` and `-device vhost-user-vsock-
    device,chardev=vsock`.

    QEMU must have the guest's memory in a shared file. It may come, go and come again; what was
    connected ends when it goes, and a guest that was restored from a snapshot begins without
    connections.

    Hosts come to `uds_path`, say `CONNECT <port>` and a newline, and hear `OK <number>` and a
    newline once the guest has accepted; where it refuses, or says nothing for `request_s`, their
    connection is closed. While no guest uses the device they wait. Ports of the host that a guest
    connects to are Unix sockets named `uds_path` with `_<port>` behind it.

    Args:
        backend: Path of the socket that QEMU connects to; made by `start`, and must not exist.
        guest_cid: The guest's context id.
        uds_path: Path of the hosts' socket; likewise.
        listener: The hosts' socket where it listens already, at `uds_path`; None has `start` make it.
        request_s: Seconds that the guest has for accepting a connection. Firecracker gives it two;
            an emulated guest that has just booted may need more.
    """

    def __init__(
        self,
        backend: Path,
        guest_cid: int,
        uds_path: Path,
        *,
        listener: socket.socket | None = None,
        request_s: float = _REQUEST_S,
    ) -> None:
        self._paths = (backend, uds_path)
        self._running = asyncio.Event()
        self._backend = Backend(struct.pack("<Q", guest_cid), self._changed)
        self._hosts = Multiplexer(guest_cid, uds_path, Queues(*self._backend.rings), request_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._given = listener
        self._listeners: list[socket.socket] = []
        self._opening: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Make both sockets and serve whoever comes. Raises `OSError`, with neither made."""
        try:
            self._listeners.append(_listen(self._paths[0]))
            self._listeners.append(self._given or _listen(self._paths[1]))
        except OSError:
            await self.close()
            raise
        self._spawn(self._serve_vmm(self._listeners[0]))
        self._spawn(self._serve_hosts(self._listeners[1]))

    def deafen(self) -> None:
        """Let the guest have nothing from its hosts any more, while it goes on to send."""
        self._hosts.deaf = True

    async def close(self) -> None:
        """End all connections and remove both sockets. May be repeated."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._opening is not None:
            self._opening.cancel()
        self._hosts.close()
        for listener in self._listeners:
            with contextlib.suppress(FileNotFoundError):
                self._paths[self._listeners.index(listener)].unlink()
            listener.close()
        self._listeners.clear()

    def _changed(self) -> None:
        if not self._backend.running:
            self._running.clear()
        elif not self._running.is_set() and self._opening is None:
            delay_s = _RESET_S if self._backend.used_before else 0
            self._opening = asyncio.get_running_loop().call_later(delay_s, self._open)
        self._hosts.process()

    def _open(self) -> None:
        self._opening = None
        if self._backend.running:
            self._running.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_vmm(self, listener: socket.socket) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            with connection:
                await self._backend.serve(MessageStream(connection))
            self._hosts.close()

    async def _serve_hosts(self, listener: socket.socket) -> None:
        while True:
            await self._running.wait()
            host, _ = await asyncio.get_running_loop().sock_accept(listener)
            self._spawn(self._greet(host))

    async def _greet(self, host: socket.socket) -> None:
        port = None
        try:
            host.setblocking(False)
            async with asyncio.timeout(_LINE_S):
                port = await _asked_port(host)
        except (OSError, TimeoutError):
            pass
        finally:
            if port is None:
                host.close()
        if port is not None:
            self._hosts.request(host, port)


async def _asked_port(host: socket.socket) -> int | None:
    """Read the first line, byte by byte: what follows it is for the guest.

    Returns None when it asks for nothing.
    """
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        byte = await asyncio.get_running_loop().sock_recv(host, 1)
        if not byte:
            return None
        line += byte
    match = _CONNECT.fullmatch(line)
    return int(match[1]) if match is not None and int(match[1]) < 1 << 32 else None


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
