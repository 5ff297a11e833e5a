"""Freezing a Firecracker machine to files, and cloning machines from them.

Source: Firecracker's docs/snapshotting. The memory file is mapped privately by every clone: it must
not change while one lives, so it is root's, read-only, and only ever linked into jails. A snapshot
names its drives and its vsock socket by path: inside a jail each clone finds its own under the same
one.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed, VmmDied, VmmStartFailed
from emberbox.tasks import UndoStack, shielded, undone_on_failure
from emberbox.vmm.base import Snapshot
from emberbox.vmm.failures import freezing, told_as
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.jailer.jail import OUTPUT, dig_holes
from emberbox.vmm.firecracker.launch import JailedFirecracker
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.firecracker.requests.request import Request
from emberbox.vmm.machine import process_record
from emberbox.vmm.process.bounds import longest_drive
from emberbox.vmm.recorded import write_record
from emberbox.vmm.snapshots.files import checked, discard, record
from emberbox.vmm.snapshots.opened import Held, OpenedSnapshot, hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.firecracker.host import FirecrackerHost
    from emberbox.vmm.firecracker.jailer.jail import MachineJail

STATE_BYTES = 64 * 1024 * 1024
"""Longest device state that is taken over."""
_MIB = 1024 * 1024


async def save(host: FirecrackerHost, machine: FirecrackerMachine, state: Path) -> Snapshot:
    """Write a template's memory, and its device state to `state`; end it, and return the snapshot.

    Raises `SnapshotFailed`; then the machine is killed, and what was written is removed.
    """
    spec = machine.spec
    async with freezing(machine, lambda: _discard(machine.memory, state)):
        memory = machine.template_memory()
        await machine.freeze()
        files = {"snapshot_path": f"/{OUTPUT}/state", "mem_file_path": f"/{OUTPUT}/memory"}
        await machine.request(Request("PUT", "/snapshot/create", {"snapshot_type": "Full", **files}))
        await machine.halt()
        snapshot = Snapshot(memory=memory, state=state, vmm_version=host.version)
        # To its end: what is still being written while it is discarded would be left behind.
        await shielded(asyncio.to_thread(_take_over, machine.launched.jail, snapshot, spec))
        machine.launched.process.killed = True
        await machine.kill()
    return snapshot


def _take_over(jail: MachineJail, snapshot: Snapshot, spec: MachineSpec) -> None:
    jail.take("memory", snapshot.memory, hardware.memory_file_mib(spec) * _MIB)
    jail.take("state", snapshot.state, STATE_BYTES)
    if snapshot.memory.stat().st_size not in (spec.memory_mib * _MIB, hardware.memory_file_mib(spec) * _MIB):
        raise SnapshotFailed(
            "Firecracker's memory file is not as long as the machine's memory; build the template anew"
        )
    dig_holes(snapshot.memory)
    # All may read them: who gets to them is decided by the folder that they lie in, and by the
    # jails that they are linked into.
    record(snapshot, spec, mode=0o444)
    snapshot.state.chmod(0o444)


def _discard(memory: Path | None, state: Path) -> None:
    discard(state)
    if memory is not None:
        memory.unlink(missing_ok=True)


class FirecrackerLoadedSnapshot(OpenedSnapshot):
    """A snapshot that clones are made from (see `LoadedSnapshot`).

    Its files are held open, so they outlive their names.
    """

    def __init__(self, host: FirecrackerHost, snapshot: Snapshot, held: Held) -> None:
        super().__init__(held)
        self._host = host
        self._snapshot = snapshot

    @classmethod
    async def open(cls, host: FirecrackerHost, snapshot: Snapshot) -> FirecrackerLoadedSnapshot:
        """Check the snapshot. Raises `SnapshotFailed`; safe to cancel."""
        return cls(host, snapshot, await hold(lambda: _open(host, snapshot)))

    async def restore(self, spec: MachineSpec) -> FirecrackerMachine:
        """Start a clone; it runs when this returns.

        Raises `SnapshotFailed` or `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        standby = await self.prepare(spec)
        return await standby.restore()

    async def prepare(self, spec: MachineSpec) -> FirecrackerStandby:
        """Start the jailed process of a clone, whose API waits for the load.

        Raises `SnapshotFailed` or `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        self._check(spec)
        launched = JailedFirecracker(self._host, spec, UndoStack())
        standby = FirecrackerStandby(launched)
        async with _cloned(launched):
            # To its end: what is still being made while it is undone would be left behind.
            await shielded(asyncio.to_thread(self._prepare, launched))
            await launched.launch(file_bytes=longest_drive(spec))
            standby.record()
        return standby

    def _prepare(self, launched: JailedFirecracker) -> None:
        launched.make_jail()
        launched.jail.share_open(self._held.memory, self._snapshot.memory, hardware.MEMORY)
        launched.jail.share_open(self._held.state, self._snapshot.state, hardware.STATE)


def _open(host: FirecrackerHost, snapshot: Snapshot) -> Held:
    found, _ = checked(snapshot, host.version)
    try:
        memory = os.open(snapshot.memory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Held(found, memory, os.open(snapshot.state, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            os.close(memory)
            raise
    except OSError as error:
        raise SnapshotFailed(
            "the snapshot's files cannot be opened; build the template anew", detail=str(error)
        ) from error


class FirecrackerStandby:
    """A `Standby`, one load away from a clone: its jail holds the snapshot's files, and its API has answered.

    Args:
        launched: The process, whose undo steps belong to this until there is a machine.
    """

    def __init__(self, launched: JailedFirecracker) -> None:
        self._launched = launched
        self._used = False

    @property
    def spec(self) -> MachineSpec:
        """What its machine will be made from."""
        return self._launched.spec

    @property
    def pid(self) -> int:
        """Host pid of Firecracker itself."""
        return self._launched.pid

    @property
    def alive(self) -> bool:
        """Whether the process still waits. Does not block."""
        return not self._used and not self._launched.process.ended

    def record(self) -> None:
        """Write the record by which an engine that starts later ends it. Raises `OSError`."""
        record = process_record("firecracker", self.spec, self.pid)
        write_record(self.spec.run_dir, {**record, "standby": True})

    async def restore(self) -> FirecrackerMachine:
        """Load the snapshot; the clone runs when this returns. Once only.

        Raises `SnapshotFailed` with nothing left behind; safe to cancel.
        """
        spec, launched = self.spec, self._launched
        if self._used:
            raise SnapshotFailed(f"the standby of virtual machine {spec.id} was used already")
        self._used = launched.restored = True
        async with _cloned(launched):
            # The process ends by itself after a load that failed: what is told is the load, not the
            # connection that broke.
            async with launched.explained(SnapshotFailed, "could not be cloned"):
                if launched.process.ended:
                    raise VmmDied("Firecracker ended while it waited")
                load = hardware.load(spec, clock=launched.host.clock)
                await launched.configure([load, *hardware.bounds(spec)])
            await asyncio.to_thread(launched.jail.seal, freezes=False)
            machine = FirecrackerMachine(launched)
            machine.running()
        return machine

    async def discard(self) -> None:
        """End the process and give back what it held.

        Repeating is harmless, also after `restore`, whose machine goes on.
        """
        if not self._used:
            self._used = True
            await self._launched.undo.close()


@asynccontextmanager
async def _cloned(launched: JailedFirecracker) -> AsyncIterator[None]:
    """Undo it when what is inside fails or is cancelled, and tell that as the failure of a clone."""
    async with undone_on_failure(launched.undo.close):
        with told_as(SnapshotFailed, launched.spec, "could not be cloned", also=(VmmStartFailed,)):
            yield
