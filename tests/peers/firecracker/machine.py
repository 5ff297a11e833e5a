"""One QEMU process with a guest, and what it is connected to."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.faults import Fault
from tests.peers.firecracker.hardware import Wiring, arguments, drive_index
from tests.peers.firecracker.qmp import Qmp, QmpError
from tests.peers.firecracker.snapshot import in_memory
from tests.peers.vsock import VsockDevice
from tests.peers.vsock.migration import NotRecognized, make_migratable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.peers.firecracker.configuration import Configuration
    from tests.peers.firecracker.output import Console

_SET_PDEATHSIG = 1
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}, {"capability": "events", "state": True}]
_MIGRATION_S = 60.0
_RESETS = ("guest-reset", "host-qmp-system-reset")
_VSOCK = "/machine/peripheral/vsock0"
_EVENTS = 2
"""The event queue's number (virtio 1.2, 5.10.2)."""
_RESET_TRIES = 1000
_RESET_PAUSE_S = 0.001
_BLOCK_COUNTERS = {
    "read_bytes": "rd_bytes",
    "write_bytes": "wr_bytes",
    "read_count": "rd_operations",
    "write_count": "wr_operations",
    "flush_count": "flush_operations",
}


class Machine:
    """A guest. `memory` is open before it starts, so that a snapshot can be put there.

    Args:
        qemu: Path of QEMU.
        configuration: What it has.
        console: Where its serial console goes.
        silent: Whether its vsock takes connections and never answers.
        on_end: Called once with our exit code when the guest has ended, or QEMU has.
    """

    def __init__(
        self, qemu: str, configuration: Configuration, console: Console, *, silent: bool, on_end: Callable[[int], None]
    ) -> None:
        self._qemu = qemu
        self._configuration = configuration
        self._console = console
        self._silent = silent
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Qmp | None = None
        self._ended = False
        self._restored = False
        self._migration: asyncio.Future[str] | None = None
        self._closers: list[Callable[[], Any]] = []
        self._relaying: asyncio.Task[None] | None = None
        self.memory = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.memory, configuration.machine["mem_size_mib"] << 20)

    async def start(self, *, khz: int | None = None, state: bytes | None = None, filled: Awaitable[None] | None = None) -> None:
        """Start QEMU; the guest is paused then, at its first instruction or where the snapshot was taken. Raises `Fault`.

        Args:
            khz: Frequency of the time stamp counter for a kernel that boots.
            state: Device state of a guest that is restored; None to boot.
            filled: What to wait for before that is loaded: its memory.
        """
        try:
            await self._start(khz)
            if state is not None:
                await self._restore(state, filled)
            for name, drive in self._configuration.drives.items():
                if "rate_limiter" in drive:
                    await self.limit_drive(name)
        except (OSError, QmpError, TimeoutError) as error:
            raise Fault(f"Internal error while starting microVM: {error}") from error

    async def execute(self, command: str, values: dict[str, Any] | None = None, *, fd: int | None = None) -> Any:
        """Run a QMP command. Raises `QmpError`."""
        if self._control is None:
            raise QmpError("QEMU was not started")
        return await self._control.execute(command, values, fd=fd)

    async def resume(self) -> None:
        """Let the guest run. Raises `QmpError`."""
        before = await self._vsock_events() if self._restored else None
        self._restored = False
        await self.execute("cont")
        if before is None:
            return
        # A restored guest is told that its connections have ended. Until it knows, a new one would end with them, and a guest
        # under TCG takes long enough for hosts to come before.
        for _ in range(_RESET_TRIES):
            if await self._vsock_events() != before:
                return
            await asyncio.sleep(_RESET_PAUSE_S)

    async def _vsock_events(self) -> int | None:
        """Return how many buffers for events the guest has given its vsock: one more with each event that it has handled."""
        if self._configuration.vsock is None:
            return None
        try:
            ring = await self.execute("x-query-virtio-queue-element", {"path": _VSOCK, "queue": _EVENTS})
        except QmpError:
            return None
        handed: int = ring["avail"]["idx"]
        return handed

    async def save(self) -> bytes:
        """Return the device state of the paused guest. Raises `Fault`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        received = asyncio.create_task(asyncio.to_thread(_read_all, reading))
        try:
            await self._allow_migration()
            await self.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES})
            self._migration = asyncio.get_running_loop().create_future()
            await self.execute("getfd", {"fdname": "state"}, fd=writing)
            os.close(writing)
            writing = -1
            await self.execute("migrate", {"uri": "fd:state"})
            await self._migrated()
        except (QmpError, TimeoutError) as error:
            raise Fault(f"Create snapshot error: Cannot save the microVM state: {error}") from error
        finally:
            if writing >= 0:
                os.close(writing)
        return await received

    async def replace_drive(self, name: str) -> None:
        """Put the file that the configuration has opened for this drive in place of the old one. Raises `QmpError`."""
        index = drive_index(self._configuration, name)
        drive = self._configuration.drives[name]
        added = await self.execute("add-fd", fd=self._configuration.descriptors[f"drive:{name}"])
        number = added["fdset-id"]
        read_only = drive["is_read_only"]
        node = f"file{index}s{number}"
        path = f"/dev/fdset/{number}"
        await self.execute(
            "blockdev-add",
            {"driver": "file", "node-name": node, "filename": path, "read-only": read_only, "locking": "off"},
        )
        options = {"driver": "raw", "node-name": f"drive{index}", "file": node, "read-only": read_only}
        await self.execute("blockdev-reopen", {"options": [options]})

    async def limit_drive(self, name: str) -> None:
        """Apply the rate limiter that the configuration has for this drive. Raises `QmpError`."""
        limiter = self._configuration.drives[name].get("rate_limiter", {})
        values = {"bps": _per_second(limiter.get("bandwidth")), "iops": _per_second(limiter.get("ops"))}
        values |= dict.fromkeys(("bps_rd", "bps_wr", "iops_rd", "iops_wr"), 0)
        await self.execute("block_set_io_throttle", {"id": f"disk{drive_index(self._configuration, name)}", **values})

    async def block_counters(self) -> dict[str, int]:
        """Return what all drives together have done since the start; empty when QEMU does not tell."""
        try:
            drives = [drive["stats"] for drive in await self.execute("query-blockstats")]
        except (QmpError, TimeoutError):
            return {}
        return {ours: sum(drive[theirs] for drive in drives) for ours, theirs in _BLOCK_COUNTERS.items()}

    async def close(self) -> None:
        """End QEMU and let go of everything. Repeating is harmless."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._relaying is not None:
            self._relaying.cancel()
            await asyncio.gather(self._relaying, return_exceptions=True)
        if self._control is not None:
            await self._control.close()
        for closer in reversed(self._closers):
            result = closer()
            if asyncio.iscoroutine(result):
                with contextlib.suppress(OSError):
                    await result
        self._closers.clear()

    async def _start(self, khz: int | None) -> None:
        backend = await self._start_vsock()
        control, control_theirs = socket.socketpair()
        console, console_theirs = socket.socketpair()
        self._closers += [control.close, console.close]
        wiring = Wiring(control=control_theirs.fileno(), console=console_theirs.fileno(), memory=self.memory, vsock=backend)
        command = arguments(self._qemu, self._configuration, wiring, khz=khz)
        self._spawn(command, [wiring.control, wiring.console, wiring.memory, *self._configuration.descriptors.values()])
        for end in (control_theirs, console_theirs):
            end.close()
        self._relaying = asyncio.create_task(self._relay(console), name="console")
        self._control = Qmp(control, self._hear)
        await self._control.open()
        if backend is not None and not self._silent:
            shutil.rmtree(Path(backend).parent, ignore_errors=True)

    async def _start_vsock(self) -> str | None:
        vsock = self._configuration.vsock
        if vsock is None:
            return None
        # The folder is needed only until QEMU has connected.
        folder = Path(tempfile.mkdtemp(prefix="peer-"))
        self._closers.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        backend = folder / "vsock"
        hosts = folder / "hosts" if self._silent else Path(vsock["uds_path"])
        if self._silent:
            await self._start_silent(vsock["uds_path"])
        device = VsockDevice(backend, vsock["guest_cid"], hosts)
        self._closers.append(device.close)
        await device.start()
        return str(backend)

    async def _start_silent(self, path: str) -> None:
        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(4096):
                pass
            writer.close()

        server = await asyncio.start_unix_server(hold, path)
        self._closers.append(server.close)

    def _spawn(self, command: list[str], inherited: list[int]) -> None:
        libc = ctypes.CDLL(None)
        parent = os.getpid()

        def die_with_parent() -> None:
            libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        # SIGXFSZ stays ignored (restore_signals), as in this process.
        self._process = subprocess.Popen(
            command,
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={},
            restore_signals=False,
            preexec_fn=die_with_parent,
        )
        self._watch(self._process.pid)

    async def _allow_migration(self) -> None:
        if self._configuration.vsock is None or self._process is None:
            return
        try:
            await asyncio.to_thread(make_migratable, self._process.pid)
        except (NotRecognized, OSError) as error:
            raise QmpError(f"the vsock cannot be saved and loaded: {error}") from error

    async def _restore(self, state: bytes, filled: Awaitable[None] | None) -> None:
        await self._allow_migration()
        await self.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES})
        if filled is not None:
            await filled
        self._migration = asyncio.get_running_loop().create_future()
        incoming = in_memory(state)
        try:
            await self.execute("getfd", {"fdname": "state"}, fd=incoming)
            await self.execute("migrate-incoming", {"uri": "fd:state"})
            await self._migrated()
        finally:
            os.close(incoming)
        self._restored = True

    async def _migrated(self) -> None:
        if self._migration is None:
            raise QmpError("no migration was started")
        async with asyncio.timeout(_MIGRATION_S):
            status = await self._migration
        if status != "completed":
            raise QmpError(f"the migration {status}")

    def _hear(self, name: str, data: dict[str, Any]) -> None:
        if name == "MIGRATION" and data.get("status") in ("completed", "failed", "cancelled"):
            if self._migration is not None and not self._migration.done():
                self._migration.set_result(str(data["status"]))
        elif name == "SHUTDOWN" and data.get("reason") in _RESETS:
            # A guest that powers off is left as it is: only a reboot ends Firecracker.
            self._end(0)

    async def _relay(self, console: socket.socket) -> None:
        console.setblocking(False)
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(console, 65_536):
            self._console.take(data)

    def _watch(self, pid: int) -> None:
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(pid)
        loop.add_reader(pidfd, self._on_exit)

        def stop() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)

        self._closers.append(stop)

    def _on_exit(self) -> None:
        if self._migration is not None and not self._migration.done():
            self._migration.set_result("ended with QEMU")
        self._end(1)

    def _end(self, code: int) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(code)


def _per_second(bucket: dict[str, int] | None) -> int:
    if bucket is None or not bucket["size"] or not bucket["refill_time"]:
        return 0
    return max(1, bucket["size"] * 1000 // bucket["refill_time"])


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
