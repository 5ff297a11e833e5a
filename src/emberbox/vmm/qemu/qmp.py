"""A client for QEMU's machine protocol (QMP) that can send many commands before the first answer.

Source: QEMU's docs/interop/qmp-spec. Commands are answered in order. QEMU reads what was sent before it was even up, so a restore
costs one wait instead of four.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmDied, VmmError, VmmTimeout
from emberbox.vmm import sockets

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_LINE = 1024 * 1024

Event = Callable[[str, Mapping[str, Any]], None]


class QmpRefused(VmmError):
    """QEMU answered a command with an error."""

    code = "vmm_refused"


class Qmp(asyncio.Protocol):
    """One connection to a QEMU process. QEMU takes one at a time.

    Args:
        on_event: Called with the name and the data of each event.
    """

    def __init__(self, on_event: Event | None = None) -> None:
        self.on_event = on_event
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._waiting: deque[tuple[str, asyncio.Future[Any]]] = deque()
        self._lost = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, path: Path, on_event: Event | None = None) -> Qmp:
        """Connect to the socket at `path`; the first command to send is `qmp_capabilities`. Raises `VmmDied`."""
        try:
            client = sockets.connect(path)
        except OSError as error:
            raise VmmDied("QEMU does not take control connections", detail=f"{path}: {error}") from error
        try:
            _, protocol = await asyncio.get_running_loop().create_unix_connection(lambda: cls(on_event), sock=client)
        except BaseException:
            client.close()
            raise
        protocol._socket = client
        return protocol

    def send(self, command: str, arguments: Mapping[str, Any] | None = None, *, fd: int | None = None) -> asyncio.Future[Any]:
        """Send a command now; the future holds its answer, or `QmpRefused`, or `VmmDied`.

        Args:
            command: Its name.
            arguments: Its arguments, JSON-ready; None for none.
            fd: A descriptor to pass along (for `getfd`).
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # Nobody need look at an answer when an earlier command of the same batch has failed.
        answer.add_done_callback(_seen)
        if self._lost.done() or self._transport is None or self._socket is None:
            answer.set_exception(VmmDied("QEMU has closed its control connection"))
            return answer
        line = json.dumps({"execute": command, **({"arguments": dict(arguments)} if arguments else {})}).encode() + b"\n"
        self._waiting.append((command, answer))
        if fd is None:
            self._transport.write(line)
        else:
            _send_descriptor(self._socket, line, fd)
        return answer

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 10.0) -> Any:
        """Send a command and wait for its answer. Raises `QmpRefused`, `VmmDied` or `VmmTimeout`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self.send(command, arguments)
        except TimeoutError as error:
            raise VmmTimeout(f"QEMU did not answer {command} within {timeout_s:g} s") from error

    def close(self) -> None:
        """Close the connection; QEMU goes on. Repeating is harmless."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is closed, by whomever."""
        return self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what arrived (called by asyncio)."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            try:
                self._take(json.loads(line))
            except (ValueError, AttributeError, KeyError, TypeError):
                # A VMM that does not speak QMP any more is not trusted with another command.
                self.close()
                return
        if len(self._buffer) > _LONGEST_LINE:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits (called by asyncio)."""
        if not self._lost.done():
            self._lost.set_result(None)
        while self._waiting:
            command, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(VmmDied(f"QEMU ended while it was to carry out {command}"))

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise TypeError("not an object")
        if "event" in message:
            if self.on_event is not None:
                self.on_event(str(message["event"]), message.get("data") or {})
        elif ("return" in message or "error" in message) and self._waiting:
            problem = str(message["error"].get("desc", "")) if "error" in message else None
            command, answer = self._waiting.popleft()
            if answer.done():
                return
            if problem is not None:
                answer.set_exception(QmpRefused(f"QEMU refused {command}: {problem}"))
            else:
                answer.set_result(message["return"])


def _seen(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()


def _send_descriptor(client: socket.socket, line: bytes, fd: int) -> None:
    # asyncio's transport cannot carry descriptors, so write beside it: it writes at once and has nothing buffered here.
    beside = socket.socket(fileno=os.dup(client.fileno()))
    with beside:
        socket.send_fds(beside, [line], [fd])
