"""Freezing a Firecracker machine to files, and cloning machines from them.

Source: Firecracker's docs/snapshotting. The memory file is mapped privately by every clone: it must not change while one lives,
so it is root's, read-only, and only ever linked into jails. A snapshot names its drives and its vsock socket by path: inside a
jail each clone finds its own under the same one.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed, VmmDied, VmmError, VmmStartFailed
from emberbox.tasks import UndoStack, shielded
from emberbox.vmm.base import MachineSpec, Snapshot
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.bodies import SnapshotCreate
from emberbox.vmm.firecracker.jail import OUTPUT, dig_holes
from emberbox.vmm.firecracker.launch import explained, launch, make_jail
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.snapshot_files import SnapshotRecord, checked, discard, record

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.host import FirecrackerHost
    from emberbox.vmm.firecracker.jail import MachineJail

STATE_BYTES = 64 * 1024 * 1024
"""Longest device state that is taken over."""
_MIB = 1024 * 1024


async def save(host: FirecrackerHost, machine: FirecrackerMachine, state: Path) -> Snapshot:
    """Write a template's memory, and its device state to the new file `state`; end the template, and return the snapshot.

    Raises `SnapshotFailed`; then the machine is killed, and what was written is removed.
    """
    spec, memory = machine.spec, machine.memory
    try:
        if memory is None:
            raise SnapshotFailed(f"virtual machine {spec.id} was not started as a template, so it cannot be frozen")
        await machine.freeze()
        await machine.request(SnapshotCreate(snapshot_path=f"/{OUTPUT}/state", mem_file_path=f"/{OUTPUT}/memory"))
        await machine.halt()
        snapshot = Snapshot(memory=memory, state=state, vmm_version=host.version)
        # To its end: what is still being written while it is discarded would be left behind.
        await shielded(asyncio.to_thread(_take_over, machine.launched.jail, snapshot, spec))
        machine.launched.process.killed = True
        await machine.kill()
    except BaseException as error:
        await shielded(_give_up(machine, memory, state))
        if isinstance(error, (VmmError, OSError)) and not isinstance(error, SnapshotFailed):
            raise SnapshotFailed(f"virtual machine {spec.id} cannot be frozen: {error}", detail=str(error)) from error
        raise
    return snapshot


async def _give_up(machine: FirecrackerMachine, memory: Path | None, state: Path) -> None:
    try:
        await machine.kill()
    finally:
        await asyncio.to_thread(_discard, memory, state)


def _take_over(jail: MachineJail, snapshot: Snapshot, spec: MachineSpec) -> None:
    jail.take("memory", snapshot.memory, hardware.memory_file_mib(spec) * _MIB)
    jail.take("state", snapshot.state, STATE_BYTES)
    if snapshot.memory.stat().st_size not in (spec.memory_mib * _MIB, hardware.memory_file_mib(spec) * _MIB):
        raise SnapshotFailed("Firecracker's memory file is not as long as the machine's memory; build the template anew")
    dig_holes(snapshot.memory)
    # All may read them: who gets to them is decided by the folder that they lie in, and by the jails that they are linked into.
    record(snapshot, spec, mode=0o444)
    snapshot.state.chmod(0o444)


def _discard(memory: Path | None, state: Path) -> None:
    discard(state)
    if memory is not None:
        memory.unlink(missing_ok=True)


class FirecrackerLoadedSnapshot:
    """A snapshot that clones are made from (see `LoadedSnapshot`). Its files are held open, so they outlive their names."""

    def __init__(self, host: FirecrackerHost, snapshot: Snapshot, found: SnapshotRecord, memory: int, state: int) -> None:
        self._host = host
        self._snapshot = snapshot
        self._record = found
        self._memory = memory
        self._state = state
        self._closed = False

    @classmethod
    async def open(cls, host: FirecrackerHost, snapshot: Snapshot) -> FirecrackerLoadedSnapshot:
        """Check the snapshot. Raises `SnapshotFailed`; safe to cancel."""
        opening = asyncio.create_task(asyncio.to_thread(_open, host, snapshot))
        try:
            found, memory, state = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        return cls(host, snapshot, found, memory, state)

    async def restore(self, spec: MachineSpec) -> FirecrackerMachine:
        """Start a clone; it runs when this returns.

        Raises `SnapshotFailed` or `VmmStartFailed` with nothing left behind; safe to cancel.
        """
        if self._closed:
            raise SnapshotFailed("the snapshot was closed")
        self._record.check_clone(spec)
        undo = UndoStack()
        try:
            return await self._restore(spec, undo)
        except VmmStartFailed:
            await undo.close()
            raise
        except (VmmError, OSError, TimeoutError) as error:
            await undo.close()
            raise SnapshotFailed(f"virtual machine {spec.id} could not be cloned: {error}", detail=str(error)) from error
        except BaseException:
            await undo.close()
            raise

    async def close(self) -> None:
        """Let go of the files. Clones that live go on; repeating is harmless."""
        if not self._closed:
            self._closed = True
            os.close(self._memory)
            os.close(self._state)

    async def _restore(self, spec: MachineSpec, undo: UndoStack) -> FirecrackerMachine:
        jail = await shielded(asyncio.to_thread(self._prepare, spec, undo))
        launched = await launch(self._host, spec, jail, file_bytes=_longest_drive(spec), undo=undo)
        launched.restored = True
        try:
            await launched.configure([hardware.load(spec, clock=self._host.clock)], optional=hardware.LOAD_OPTIONAL)
            await launched.configure(hardware.bounds(spec))
            await asyncio.to_thread(jail.seal, freezes=False)
        except VmmDied as error:
            raise await explained(spec, launched.process, launched.log, error) from error
        machine = FirecrackerMachine(spec, launched)
        machine.running()
        return machine

    def _prepare(self, spec: MachineSpec, undo: UndoStack) -> MachineJail:
        jail = make_jail(self._host, spec, undo)
        jail.share_open(self._memory, self._snapshot.memory, hardware.MEMORY)
        jail.share_open(self._state, self._snapshot.state, hardware.STATE)
        return jail


def _longest_drive(spec: MachineSpec) -> int:
    return max([0, *(drive.path.stat().st_size for drive in spec.drives if not drive.read_only)])


def _open(host: FirecrackerHost, snapshot: Snapshot) -> tuple[SnapshotRecord, int, int]:
    found, _ = checked(snapshot, host.version)
    try:
        memory = os.open(snapshot.memory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _gone(error) from error
    try:
        return found, memory, os.open(snapshot.state, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        os.close(memory)
        raise _gone(error) from error


def _gone(error: OSError) -> SnapshotFailed:
    return SnapshotFailed("the snapshot's files cannot be opened; build the template anew", detail=str(error))


def _close_opened(opening: asyncio.Task[tuple[SnapshotRecord, int, int]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _, memory, state = opening.result()
        os.close(memory)
        os.close(state)
