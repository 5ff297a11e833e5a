"""The control connection to a QEMU process, spoken by the QEMU project's own client, `qemu.qmp`.

Source: QEMU's docs/interop/qmp-spec. That library greets, negotiates, numbers commands and reads
events; here its errors become ours, every command gets a bound, what is read is bounded (`paced`),
and the tasks it starts get an owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmDied, VmmRefused, VmmTimeout
from emberbox.files.paths import without_folders
from emberbox.vmm.process import sockets

if TYPE_CHECKING:
    from pathlib import Path

    from qemu.qmp import Message

    from emberbox.vmm.qemu.paced import PacedClient

_log = logging.getLogger(__name__)

_CLOSE_S = 5.0
_SILENT = logging.CRITICAL + 1

Event = Callable[[str, Mapping[str, Any]], None]


class QmpRefused(VmmRefused):
    """QEMU answered a command with an error."""


class Qmp:
    """One connection to a QEMU process, made by `connect`. QEMU takes one at a time.

    Args:
        client: The library's client, not yet connected.
        connection: A socket connected to QEMU; closed here.
    """

    def __init__(self, client: PacedClient, connection: socket.socket) -> None:
        self.on_event: Event | None = None
        """Called with the name and the data of each event, in their order; None for nobody."""
        self._client = client
        self._connection = connection
        self._greeted = asyncio.Event()
        # The default listener keeps every event for ever unless its filter turns it down.
        client.events.event_filter = self._hear
        self._lost = asyncio.create_task(self._serve(), name="qmp-connection")

    @classmethod
    def connect(cls, path: Path) -> Qmp:
        """Connect to `path` without waiting: QEMU may still be starting, and the first command waits.

        Raises `VmmDied` when nobody listens there.
        """
        try:
            connection = sockets.connect(path)
        except OSError as error:
            raise VmmDied("QEMU does not take control connections", detail=f"{path}: {error}") from error
        try:
            return cls(_new_client(), connection)
        except BaseException:
            connection.close()
            raise

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
        fd: int | None = None,
    ) -> Any:
        """Send a command and wait for its answer.

        Args:
            command: Its name.
            arguments: Its arguments, JSON-ready; None for none.
            timeout_s: How long to wait; before the first command this includes QEMU's start.
            fd: A descriptor to pass along (for `getfd`); stays open here.

        Raises `QmpRefused`, `VmmDied` or `VmmTimeout`; after the last, QEMU may still carry the
        command out. Safe to cancel.
        """
        if self._lost.done():
            raise VmmDied("QEMU has closed its control connection")
        try:
            async with asyncio.timeout(timeout_s):
                await self._greeted.wait()
                return await self._ask(command, arguments, fd)
        except TimeoutError as error:
            raise VmmTimeout(f"QEMU did not answer {command} within {timeout_s:g} s") from error

    async def close(self) -> None:
        """Close the connection and wait for its tasks; QEMU goes on. Repeating is harmless."""
        self._hang_up()
        _, pending = await asyncio.wait({self._lost}, timeout=_CLOSE_S)
        if pending:
            self._lost.cancel()

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is closed, by whomever.

        Look at it with `asyncio.wait`, which does not cancel it.
        """
        return self._lost

    async def _ask(self, command: str, arguments: Mapping[str, Any] | None, fd: int | None) -> object:
        from qemu.qmp import ExecuteError, QMPError
        from qemu.qmp.qmp_client import BadReplyError

        try:
            if fd is not None:
                self._client.send_fd_scm(fd)
            return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise QmpRefused(f"QEMU refused {command}: {without_folders(str(error))}") from error
        except (QMPError, OSError) as error:
            if isinstance(error, BadReplyError):
                # A VMM that does not speak QMP any more is not trusted with another command.
                self._hang_up()
            raise VmmDied(f"QEMU ended while it was to carry out {command}", detail=str(error)) from error

    async def _serve(self) -> None:
        """Own the library's tasks from the connection's beginning to its end; a log gets its reason."""
        from qemu.qmp import Runstate

        try:
            await self._client.connect(self._connection)
            self._greeted.set()
            while self._client.runstate is Runstate.RUNNING:
                await self._client.runstate_changed()
            await self._client.disconnect()
        except Exception as error:
            _log.debug("control connection ended: %r", error, extra={"action": "vmm.control_lost"})
        finally:
            self._greeted.set()
            self._connection.close()

    def _hang_up(self) -> None:
        # The library sees an end of input. Unlike its own disconnect, that never waits for QEMU to
        # read what is unsent; nor is what it still says read at its pace.
        self._client.stop()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _hear(self, message: Message) -> bool:
        if self.on_event is not None:
            data = message.get("data")
            self.on_event(str(message["event"]), data if isinstance(data, Mapping) else {})
        return False


def _new_client() -> PacedClient:
    # Imported at the first machine's start, while QEMU starts beside it.
    from emberbox.vmm.qemu.paced import PacedClient

    client = PacedClient("emberbox")
    if client.logger.level == logging.NOTSET:
        # It logs the end of any connection as an error; here that is the normal end of a machine.
        # An explicit level is kept.
        client.logger.setLevel(_SILENT)
    return client
