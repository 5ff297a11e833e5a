"""Plain QEMU guests whose only way to the host is a vsock device in user space, without a driver."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.guest import GuestClient
from emberbox.vmm.qemu.arguments import Hardware
from emberbox.vmm.qemu.processor import known_flags
from emberbox.vmm.timestamp import tsc_khz
from tests.patience import PATIENCE_S
from tests.peers.vsock import VsockDevice
from tests.peers.vsock.migration import make_migratable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.images import Image

MEMORY_MIB = 256
PORT = 1024
CID = 3


class VsockGuest:
    """A running guest: its device, its sockets and QEMU's control."""

    def __init__(self, folder: Path, device: VsockDevice, process: asyncio.subprocess.Process) -> None:
        self.device = device
        self.process = process
        self.hosts = folder / "v.sock"
        self.folder = folder

    async def connect(self, port: int = PORT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to a port; None when the guest refuses."""
        reader, writer = await asyncio.open_unix_connection(self.hosts)
        writer.write(b"CONNECT %d\n" % port)
        answer = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        if answer.startswith(b"OK "):
            return reader, writer
        assert answer == b""
        writer.close()
        return None

    @asynccontextmanager
    async def talk(self) -> AsyncIterator[GuestClient]:
        """Connect to the agent, once it listens."""
        async with asyncio.timeout(PATIENCE_S):
            while (streams := await self.connect()) is None:
                assert self.process.returncode is None
                await asyncio.sleep(0.05)
        client = GuestClient(*streams)
        try:
            yield client
        finally:
            await client.close()

    async def control(self, *commands: dict[str, Any]) -> list[Any]:
        """Give QEMU commands, one after another; returns their answers."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "qmp.sock")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await reader.readline()
                return [
                    await _execute(reader, writer, command)
                    for command in ({"execute": "qmp_capabilities"}, *commands)
                ][1:]
        finally:
            writer.close()
            await writer.wait_closed()

    async def save(self, target: Path) -> None:
        """Pause the guest, and save state and memory to the new folder `target`."""
        target.mkdir()
        assert self.process.pid is not None
        make_migratable(self.process.pid)
        await self.control({"execute": "stop"}, _IGNORE_SHARED, _migrate(f"exec:cat >{target / 'state'}"))
        await self._migrated("query-migrate", "completed")
        shutil.copyfile(self.folder / "memory", target / "memory")

    async def load(self, source: Path) -> None:
        """Load a state into a guest started for it; returns once it knows that it was restored."""
        assert self.process.pid is not None
        make_migratable(self.process.pid)
        incoming = {"execute": "migrate-incoming", "arguments": {"uri": f"exec:cat {source / 'state'}"}}
        await self.control(_IGNORE_SHARED, incoming)
        await self._migrated("query-status", "paused")
        before = await self._events()
        await self.control({"execute": "cont"})
        # The guest is told that its connections have ended, and a new one would end with them: it
        # knows when it has handed back the buffer of that event.
        async with asyncio.timeout(PATIENCE_S):
            while await self._events() == before:  # noqa: ASYNC110  QEMU tells nobody
                await asyncio.sleep(0.005)

    async def _events(self) -> int:
        """Return how many buffers for events the guest has handed over so far."""
        (ring,) = await self.control(_EVENTS)
        return int(ring["avail"]["idx"])

    async def _migrated(self, query: str, status: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (answer := (await self.control({"execute": query}))[0]).get("status") != status:
                assert answer.get("status") != "failed", answer
                await asyncio.sleep(0.02)


_IGNORE_SHARED = {
    "execute": "migrate-set-capabilities",
    "arguments": {"capabilities": [{"capability": "x-ignore-shared", "state": True}]},
}


_EVENTS = {
    "execute": "x-query-virtio-queue-element",
    "arguments": {"path": "/machine/peripheral/vsock", "queue": 2},
}


def _migrate(uri: str) -> dict[str, Any]:
    return {"execute": "migrate", "arguments": {"uri": uri}}


async def _execute(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: dict[str, Any]
) -> Any:
    writer.write(json.dumps(command).encode() + b"\n")
    while "event" in (answer := json.loads(await reader.readline())):
        pass
    assert "return" in answer, answer
    return answer["return"]


@asynccontextmanager
async def guest(image: Image, *, snapshot: Path | None = None) -> AsyncIterator[VsockGuest]:
    """Start a guest: cold, or a clone of `snapshot`.

    A clone has a copy of its own of the memory and waits for `load`.
    """
    async with AsyncExitStack() as stack:
        # Not below the test's own folder: paths of sockets are short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vsock-")))
        device = VsockDevice(folder / "vmm.sock", CID, folder / "v.sock")
        await device.start()
        stack.push_async_callback(device.close)
        if snapshot is not None:
            shutil.copyfile(snapshot / "memory", folder / "memory")
        process = await asyncio.create_subprocess_exec(*_arguments(image, folder, cold=snapshot is None))
        stack.push_async_callback(_end, process)
        async with asyncio.timeout(PATIENCE_S):
            while not (folder / "qmp.sock").exists():
                assert process.returncode is None
                await asyncio.sleep(0.01)
        yield VsockGuest(folder, device, process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _arguments(image: Image, folder: Path, *, cold: bool) -> list[str]:
    architecture = os.uname().machine
    binary = f"qemu-system-{architecture}"
    hardware = Hardware(
        binary=binary,
        accelerator="tcg",
        architecture=architecture,
        tsc_khz=tsc_khz(),
        known_flags=tuple(known_flags(Path(binary))),
    )
    memory = f"memory-backend-file,id=memory,size={MEMORY_MIB}M,mem-path={folder / 'memory'},share=on"
    words = [
        hardware.binary,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        f"file:{folder}/console",
    ]
    words += [
        "-accel",
        hardware.acceleration,
        "-cpu",
        hardware.processor,
        "-m",
        f"{MEMORY_MIB}M",
        "-object",
        memory,
    ]
    words += [
        "-machine",
        f"{hardware.machine},memory-backend=memory",
        "-qmp",
        f"unix:{folder}/qmp.sock,server=on,wait=off",
    ]
    words += [
        "-chardev",
        f"socket,id=vsock,path={folder}/vmm.sock",
        "-device",
        "vhost-user-vsock-device,chardev=vsock,id=vsock",
    ]
    words += ["-blockdev", f"driver=file,node-name=file,filename={image.rootfs},read-only=on,locking=off"]
    words += [
        "-blockdev",
        "driver=raw,node-name=drive,file=file,read-only=on",
        "-device",
        "virtio-blk-device,drive=drive",
    ]
    if not cold:
        return [*words, "-incoming", "defer"]
    append = " ".join((*hardware.kernel_args, f"emberbox.channel=vsock:{PORT}"))
    return [*words, "-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append", append]
