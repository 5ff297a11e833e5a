"""A release page and a forwarding proxy on loopback, real ones that can be made to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 16 * 1024


class Listener:
    """A server on a port of its own; its connections end with it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Listener:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self.serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Page(Listener):
    """Serves files by their path, one request for each connection.

    `cut` ends a file after so many bytes; `pause_after` stops there (`paused`) until `go_on` is
    set; `redirects` lead elsewhere; `status` answers everything with a code of its own; `announced`
    is a false length. `asked` counts requests by path.
    """

    def __init__(self, files: dict[str, bytes], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.files = files
        self.asked: Counter[str] = Counter()
        self.cut: dict[str, int] = {}
        self.pause_after: dict[str, int] = {}
        self.announced: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.status = 200
        self.paused = asyncio.Event()
        self.go_on = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://localhost:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1].removeprefix(f"http://localhost:{self.port}")
        self.asked[path] += 1
        if path in self.redirects:
            place = self.redirects[path]
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        elif self.status != 200 or path not in self.files:
            status = self.status if self.status != 200 else 404
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        else:
            await self._send(writer, path)
        await writer.drain()

    async def _send(self, writer: asyncio.StreamWriter, path: str) -> None:
        content = self.files[path]
        length = self.announced.get(path, len(content))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        pause = self.pause_after.get(path)
        if pause is not None:
            writer.write(content[:pause])
            await writer.drain()
            self.paused.set()
            await self.go_on.wait()
            content = content[pause:]
        content = content[: self.cut.get(path, len(content))]
        for at in range(0, len(content), _CHUNK):
            writer.write(content[at : at + _CHUNK])
            await writer.drain()


class Proxy(Listener):
    """Forwards `CONNECT` and plain requests to loopback, whatever host they name.

    `refuse` is a status to answer instead.
    """

    def __init__(self, refuse: str | None = None) -> None:
        super().__init__()
        self.refuse = refuse
        self.lines: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n")[0].decode()
        self.lines.append(line)
        if self.refuse is not None:
            writer.write(f"HTTP/1.1 {self.refuse}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        method, target, _ = line.split(" ")
        authority = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                far_writer.write(head)
            async with asyncio.TaskGroup() as group:
                up = group.create_task(_pump(reader, far_writer))
                await _pump(far_reader, writer)
                up.cancel()
        finally:
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


async def self_made_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate for localhost, and the file for clients' trust."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
    ]
    command += ["-keyout", str(key), "-out", str(certificate)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
