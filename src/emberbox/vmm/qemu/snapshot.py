"""Freezing a QEMU machine to files, and cloning machines from them.

Source: QEMU's docs/devel/migration and qapi/migration.json. With the capability `x-ignore-shared`,
memory that lies in a shared file is not written again, so a save takes milliseconds. A machine is
saved while it runs: then its clones run by themselves as soon as they are loaded.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

from emberbox.errors import SnapshotFailed
from emberbox.tasks import UndoStack, undone_on_failure
from emberbox.vmm.base import Snapshot
from emberbox.vmm.failures import freezing
from emberbox.vmm.qemu.launch import ConfinedQemu, QemuHost, explained
from emberbox.vmm.qemu.machine import QemuMachine
from emberbox.vmm.snapshots.files import checked, discard, record, write_new
from emberbox.vmm.snapshots.memory_image import empty_copy, fill_and_seal, reopen, sealed_bytes
from emberbox.vmm.snapshots.opened import Held, OpenedSnapshot, hold

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.qemu.qmp import Qmp

_CAPABILITIES = {
    "capabilities": [
        {"capability": "x-ignore-shared", "state": True},
        {"capability": "events", "state": True},
    ],
}
_SAVE_S = 60.0
_RESTORE_S = 30.0
_STATE_BYTES = 64 * 1024 * 1024


async def save(host: QemuHost, machine: QemuMachine, state: Path) -> Snapshot:
    """Write a template's device state to the new file `state`, end it, and return the snapshot.

    Raises `SnapshotFailed`; then the machine is killed, and `state` and its record are removed.
    """
    async with freezing(machine, lambda: discard(state)):
        memory = machine.template_memory()
        if machine.visited:
            raise SnapshotFailed(
                f"virtual machine {machine.spec.id} cannot be frozen while a host is at its channel, or its "
                "agent has not noticed that it left: call part() first"
            )
        await _write_state(machine, state)
        await machine.kill()
        snapshot = Snapshot(memory=memory, state=state, vmm_version=host.version)
        await asyncio.to_thread(record, snapshot, machine.spec, tsc_khz=host.hardware.tsc_khz)
    return snapshot


async def _write_state(machine: QemuMachine, state: Path) -> None:
    control = machine.control
    # By way of a socket, not of a file: QEMU may not write long files, and what it says is bounded here.
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    receiving = asyncio.create_task(_receive(reader))
    try:
        with theirs:
            await control.execute("migrate-set-capabilities", _CAPABILITIES, timeout_s=_SAVE_S)
            await control.execute("getfd", {"fdname": "state"}, timeout_s=_SAVE_S, fd=theirs.fileno())
        status = await _migrate(control, "migrate", "fd:state", until="completed", timeout_s=_SAVE_S)
        if status != "completed":
            raise SnapshotFailed(f"QEMU could not save virtual machine {machine.spec.id}: {status}")
        async with asyncio.timeout(_SAVE_S):
            data = await receiving
    finally:
        receiving.cancel()
        writer.transport.abort()
    await asyncio.to_thread(write_new, state, data)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while piece := await reader.read(65_536):
        data += piece
        if len(data) > _STATE_BYTES:
            raise SnapshotFailed(f"QEMU sent a device state of more than {_STATE_BYTES} bytes")
    return bytes(data)


async def _migrate(control: Qmp, command: str, uri: str, *, until: str, timeout_s: float) -> str:
    """Begin to save or to load a machine, and wait for the end; returns what came of it.

    That is `until` ("completed" for a save, "running" for a load: then the vCPUs run), "failed",
    "cancelled" or "QEMU ended". Raises `SnapshotFailed` when it takes too long, or another `VmmError`.
    """
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def take(name: str, data: Mapping[str, Any]) -> None:
        status = "running" if name == "RESUME" else data.get("status") if name == "MIGRATION" else None
        if status in (until, "failed", "cancelled") and not ended.done():
            ended.set_result(str(status))

    control.on_event = take
    try:
        async with asyncio.timeout(timeout_s):
            await control.execute(command, {"uri": uri}, timeout_s=timeout_s)
            await asyncio.wait((ended, control.lost), return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError as error:
        raise SnapshotFailed(f"QEMU did not finish within {timeout_s:g} s") from error
    return ended.result() if ended.done() else "QEMU ended"


def _pin(host: QemuHost, snapshot: Snapshot) -> Held:
    found, state = checked(snapshot, host.version)
    here = host.hardware.tsc_khz
    if found.tsc_khz is not None and (here is None or abs(here - found.tsc_khz) > found.tsc_khz / 1000):
        raise SnapshotFailed(
            "the processor's clock runs at another frequency than when the snapshot was made; build the "
            "template anew"
        )
    try:
        memory = empty_copy(snapshot.memory, "emberbox-memory")
    except OSError as error:
        raise _unloadable(snapshot, error) from error
    try:
        return Held(found, memory, sealed_bytes(state, "emberbox-state"))
    except BaseException:
        os.close(memory)
        raise


def _unloadable(snapshot: Snapshot, error: OSError) -> SnapshotFailed:
    told = f"the template's memory cannot be loaded: {error.strerror}; build it anew"
    return SnapshotFailed(told, detail=f"{snapshot.memory}: {error}")


class QemuLoadedSnapshot(OpenedSnapshot):
    """A snapshot pinned in memory, from which clones are made (see `LoadedSnapshot`).

    Its memory is copied while the first clone's VMM starts; no clone loads its state before the
    copy is complete and sealed.
    """

    def __init__(self, host: QemuHost, snapshot: Snapshot, held: Held) -> None:
        super().__init__(held)
        self._host = host
        self._filling = asyncio.create_task(_fill(snapshot, held.memory), name="snapshot-memory")

    @classmethod
    async def open(cls, host: QemuHost, snapshot: Snapshot) -> QemuLoadedSnapshot:
        """Check the snapshot and copy its memory to where nobody can change it. Raises `SnapshotFailed`."""
        return cls(host, snapshot, await hold(lambda: _pin(host, snapshot)))

    async def restore(self, spec: MachineSpec) -> QemuMachine:
        """Start a clone; it runs when this returns.

        Raises `SnapshotFailed` or `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        self._check(spec)
        launched = ConfinedQemu(self._host, spec, UndoStack())
        async with undone_on_failure(launched.undo.close):
            with explained(spec, "could not be cloned"):
                return await self._load(launched)

    async def _settle(self) -> None:
        await asyncio.gather(self._filling, return_exceptions=True)

    async def _load(self, launched: ConfinedQemu) -> QemuMachine:
        state = reopen(self._held.state)
        await launched.launch(memory=self._held.memory, state=state)
        control = launched.control
        await control.execute("migrate-set-capabilities", _CAPABILITIES, timeout_s=_RESTORE_S)
        await asyncio.shield(self._filling)
        uri = f"fd:{state}"
        status = await _migrate(control, "migrate-incoming", uri, until="running", timeout_s=_RESTORE_S)
        if status != "running":
            raise SnapshotFailed(f"the snapshot could not be loaded: {status}")
        machine = QemuMachine(launched)
        machine.running()
        return machine


async def _fill(snapshot: Snapshot, memory: int) -> None:
    try:
        await asyncio.to_thread(fill_and_seal, memory, snapshot.memory)
    except OSError as error:
        raise _unloadable(snapshot, error) from error
