"""A proxy that says 206 where an S3 server answers with a part and says 200, which AWS's own never does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WHOLE, _PART = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 206 Partial Content\r\n"


@asynccontextmanager
async def marking_proxy(port: int) -> AsyncIterator[str]:
    """Forward connections to a port of this host; yields the proxy's address."""
    open_pipes: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        pipes = {
            asyncio.create_task(_pipe(reader, to_server)),
            asyncio.create_task(_pipe(from_server, writer, mark=True)),
        }
        open_pipes.update(pipes)
        await asyncio.wait(pipes)
        open_pipes.difference_update(pipes)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for pipe in open_pipes.copy():
            pipe.cancel()
        if open_pipes:
            await asyncio.wait(open_pipes.copy())


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, mark: bool = False) -> None:
    try:
        # An answer comes after its request alone, so that each begins a piece of its own.
        while data := await source.read(65536):
            if (
                mark
                and data.startswith(_WHOLE)
                and b"content-range:" in data.partition(b"\r\n\r\n")[0].lower()
            ):
                data = data.replace(_WHOLE, _PART, 1)
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()
