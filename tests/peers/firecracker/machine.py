"""One guest: started or restored, paused and resumed, saved."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.disks import Disks
from tests.peers.firecracker.faults import Fault
from tests.peers.firecracker.hardware import Wiring, arguments
from tests.peers.firecracker.process import QemuProcess
from tests.peers.firecracker.qmp import QmpError
from tests.peers.firecracker.snapshot import in_memory
from tests.peers.firecracker.vsock_link import VsockLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.peers.firecracker.configuration import Configuration
    from tests.peers.firecracker.output import Console

_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}, {"capability": "events", "state": True}]
_MIGRATION_S = 180.0
_DRIVEN = "VIRTIO_CONFIG_S_DRIVER_OK"
_RESETS = ("guest-reset", "host-qmp-system-reset")


class Machine:
    """A guest in a QEMU. `memory` is open before it starts, so that a snapshot's can be put there.

    Making it raises `OSError`.

    Args:
        qemu: Path of QEMU.
        processor: QEMU's `-cpu`.
        configuration: What it has.
        console: Where its serial console goes.
        silent: Whether its vsock takes connections and never answers.
        on_end: Called once with our exit code when the guest has ended, or QEMU has.
    """

    def __init__(
        self,
        qemu: str,
        processor: str,
        configuration: Configuration,
        console: Console,
        *,
        silent: bool,
        on_end: Callable[[int], None],
    ) -> None:
        self._qemu = qemu
        self._processor = processor
        self._configuration = configuration
        self._on_end = on_end
        self._ended = False
        self._restored = False
        self._migration: asyncio.Future[str] | None = None
        self._process = QemuProcess(console, self._hear, self._on_exit)
        self.disks = Disks(self._process, configuration)
        self.memory = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.memory, configuration.machine["mem_size_mib"] << 20)
        self._vsock = None
        if configuration.vsock is not None and configuration.listener is not None:
            self._vsock = VsockLink(configuration.vsock, configuration.listener, silent=silent)

    async def start(
        self, *, khz: int | None = None, state: bytes | None = None, filled: Awaitable[None] | None = None
    ) -> None:
        """Start QEMU; the guest is paused then, at its first instruction or where the snapshot was taken.

        Raises `Fault`.

        Args:
            khz: Frequency of the time stamp counter for a kernel that boots.
            state: Device state of a guest that is restored; None to boot.
            filled: What to wait for before that is loaded: its memory.
        """
        try:
            await self._start(khz)
            if state is not None:
                await self._restore(state, filled)
            await self.disks.limit_all()
        except (OSError, QmpError, TimeoutError) as error:
            raise Fault(f"Start microvm error: {error}") from error

    async def execute(self, command: str, values: dict[str, Any] | None = None) -> Any:
        """Run a QMP command and return what it returns. Raises `QmpError`."""
        return await self._process.execute(command, values)

    async def driven(self, device: str | None = None) -> bool:
        """Return whether the guest's driver uses a device; None for the first of those that the machine has.

        One without such devices counts as driven: nobody can tell.
        """
        configuration = self._configuration
        held = {
            "balloon0": configuration.balloon,
            "disk0": configuration.drives,
            "entropy0": configuration.entropy,
        }
        device = device or next((name for name, value in held.items() if value), None)
        if device is None:
            return True
        told = await self.execute("x-query-virtio-status", {"path": f"/machine/peripheral/{device}"})
        return any(word.startswith(_DRIVEN) for word in told["status"]["statuses"])

    async def pause(self) -> None:
        """Stop the guest. Raises `QmpError`."""
        await self.execute("stop")

    async def resume(self) -> None:
        """Let the guest run. Raises `QmpError`."""
        restored, self._restored = self._restored, False
        if not restored or self._vsock is None:
            await self.execute("cont")
            return
        before = await self._vsock.events(self._process)
        await self.execute("cont")
        if before is not None:
            await self._vsock.settled(self._process, before)

    async def save(self) -> bytes:
        """Return the device state of the paused guest. Raises `Fault`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        received = asyncio.create_task(asyncio.to_thread(_read_all, reading))
        try:
            try:
                await self._allow_migration()
                await self._process.execute("getfd", {"fdname": "state"}, fd=writing)
            finally:
                os.close(writing)
            await self._migrate("migrate")
        except (QmpError, TimeoutError) as error:
            raise Fault(f"Create snapshot error: Cannot save the microVM state: {error}") from error
        return await received

    def deafen(self) -> None:
        """Let the guest have nothing from its hosts any more."""
        if self._vsock is not None:
            self._vsock.deafen()

    async def close(self) -> None:
        """End QEMU and let go of everything but the memory. Repeating is harmless."""
        self._ended = True
        await self._process.close()
        if self._vsock is not None:
            await self._vsock.close()

    async def _start(self, khz: int | None) -> None:
        backend = None
        if self._vsock is not None:
            await self._vsock.start()
            backend = str(self._vsock.backend)

        def command(control: int, console: int) -> list[str]:
            wiring = Wiring(control=control, console=console, memory=self.memory, vsock=backend)
            return arguments(self._qemu, self._configuration, wiring, khz=khz, processor=self._processor)

        await self._process.start(command, [self.memory, *self._configuration.descriptors.values()])
        if self._vsock is not None:
            self._vsock.connected()

    async def _restore(self, state: bytes, filled: Awaitable[None] | None) -> None:
        await self._allow_migration()
        if filled is not None:
            await filled
        incoming = in_memory(state)
        try:
            await self._process.execute("getfd", {"fdname": "state"}, fd=incoming)
        finally:
            os.close(incoming)
        await self._migrate("migrate-incoming")
        self._restored = True

    async def _allow_migration(self) -> None:
        if self._vsock is not None:
            await self._vsock.allow_saving(self._process)
        await self.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES})

    async def _migrate(self, command: str) -> None:
        self._migration = asyncio.get_running_loop().create_future()
        await self.execute(command, {"uri": "fd:state"})
        async with asyncio.timeout(_MIGRATION_S):
            status = await self._migration
        if status != "completed":
            raise QmpError(f"the migration {status}")

    def _hear(self, name: str, data: dict[str, Any]) -> None:
        if name == "MIGRATION" and data.get("status") in ("completed", "failed", "cancelled"):
            self._set_migration(str(data["status"]))
        elif name == "SHUTDOWN" and data.get("reason") in _RESETS:
            # A guest that powers off is left as it is: only a reboot ends Firecracker.
            self._end(0)

    def _on_exit(self) -> None:
        self._set_migration("ended with QEMU")
        self._end(1)

    def _set_migration(self, status: str) -> None:
        if self._migration is not None and not self._migration.done():
            self._migration.set_result(status)

    def _end(self, code: int) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(code)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
