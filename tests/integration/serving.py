"""A real server in this process, for tests of what only a server does: streams, WebSockets, connections."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

from emberbox.model import MIB
from emberbox.server.connections import Server
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free loopback port, as `emberbox serve` does; yields its address."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as listener:
        server = Server(app, message_bytes=8 * MIB)
        server.config.timeout_graceful_shutdown = 2
        task = asyncio.create_task(server.serve(sockets=[listener]), name="test-server")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await server.up(task)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            async with asyncio.timeout(PATIENCE_S):
                await server.end(task)
