"""The vsock between QEMU and hosts: the device's other end, and what QEMU needs to be told for it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.qmp import QmpError
from tests.peers.vsock import VsockDevice
from tests.peers.vsock.migration import NotRecognized, make_migratable

if TYPE_CHECKING:
    import socket

    from tests.peers.firecracker.process import QemuProcess

_DEVICE = "/machine/peripheral/vsock0"
_EVENTS = 2
"""The event queue's number (virtio 1.2, 5.10.2)."""
_RESET_TRIES = 1000
_RESET_PAUSE_S = 0.001


class VsockLink:
    """The vsock of one machine.

    Args:
        settings: As in the configuration.
        listener: The hosts' socket, which listens already.
        silent: Whether hosts' connections are taken and never answered.
    """

    def __init__(self, settings: dict[str, Any], listener: socket.socket, *, silent: bool) -> None:
        self._listener = listener
        self._silent = silent
        self._server: asyncio.Server | None = None
        # QEMU's way in lies apart from what others see, and is needed only until it has connected.
        self._folder = Path(tempfile.mkdtemp(prefix="peer-"))
        self.backend = self._folder / "vsock"
        hosts = self._folder / "hosts" if silent else Path(settings["uds_path"])
        self._device = VsockDevice(
            self.backend, settings["guest_cid"], hosts, listener=None if silent else listener
        )

    async def start(self) -> None:
        """Begin to listen, for QEMU and for hosts. Raises `OSError`."""
        if self._silent:
            self._server = await asyncio.start_unix_server(_hold, sock=self._listener)
        await self._device.start()

    def connected(self) -> None:
        """Remove QEMU's way in, once it has connected."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def allow_saving(self, process: QemuProcess) -> None:
        """Have QEMU save and load the device. Raises `QmpError`."""
        try:
            await asyncio.to_thread(make_migratable, process.pid)
        except (NotRecognized, OSError) as error:
            raise QmpError(f"the vsock cannot be saved and loaded: {error}") from error

    async def events(self, process: QemuProcess) -> int | None:
        """Return how many event buffers the guest has handed out: one more for each that it has handled.

        None when the guest does not use the device.
        """
        try:
            ring = await process.execute("x-query-virtio-queue-element", {"path": _DEVICE, "queue": _EVENTS})
        except QmpError:
            return None
        handed: int = ring["avail"]["idx"]
        return handed

    async def settled(self, process: QemuProcess, before: int) -> None:
        """Wait, a second or two at most, until a restored guest knows that its connections have ended.

        A new one that comes sooner would end with them. Firecracker's guests are fast enough; one
        under TCG may not be.
        """
        for _ in range(_RESET_TRIES):
            if await self.events(process) != before:
                return
            await asyncio.sleep(_RESET_PAUSE_S)

    def deafen(self) -> None:
        """Let the guest have nothing from its hosts any more."""
        self._device.deafen()

    async def close(self) -> None:
        """Hang up on everybody; the hosts' socket may stay, as Firecracker's does. Repeating is harmless."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            await self._device.close()
        shutil.rmtree(self._folder, ignore_errors=True)


async def _hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass
    writer.close()
