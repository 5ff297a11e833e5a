"""A small client for QEMU's control protocol (QEMU's docs/interop/qmp-spec), over one connected socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_LINE = 4 * 1024 * 1024
_ANSWER_S = 180.0


class QmpError(Exception):
    """QEMU refused a command, or ended."""


class Qmp:
    """One command at a time; events go to `on_event`, called with name and data."""

    def __init__(self, connection: socket.socket, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        self._socket = connection
        self._on_event = on_event
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._lock = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Wait for QEMU's greeting and agree on the protocol. Raises `QmpError`."""
        self._socket.setblocking(False)
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader), sock=self._socket.dup()
        )
        self._reading = asyncio.create_task(self._read(reader), name="qmp")
        await self._answer()
        await self.execute("qmp_capabilities")

    async def execute(
        self, command: str, arguments: dict[str, Any] | None = None, *, fd: int | None = None
    ) -> Any:
        """Run a command and return what it returns; `fd` is passed along. Raises `QmpError`."""
        line = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        async with self._lock:
            try:
                # Commands are short and QEMU reads them at once: the socket's buffer never fills.
                if fd is not None:
                    socket.send_fds(self._socket, [line], [fd])
                else:
                    self._socket.sendall(line)
            except OSError as error:
                raise QmpError(f"QEMU has ended: {error}") from error
            answer = await self._answer()
        if "error" in answer:
            raise QmpError(f"{command}: {answer['error'].get('desc')}")
        return answer.get("return")

    async def close(self) -> None:
        """Let go of the connection. Repeating is harmless."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._socket.close()

    async def _answer(self) -> dict[str, Any]:
        async with asyncio.timeout(_ANSWER_S):
            answer = await self._answers.get()
        if answer is None:
            raise QmpError("QEMU has ended")
        return answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                message = json.loads(line)
                if "event" in message:
                    self._on_event(message["event"], message.get("data") or {})
                else:
                    self._answers.put_nowait(message)
        self._answers.put_nowait(None)
