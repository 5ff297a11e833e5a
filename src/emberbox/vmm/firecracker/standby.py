"""A Firecracker process that was started and jailed ahead of time: a clone is one load away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed, VmmDied, VmmError, VmmStartFailed
from emberbox.vmm.failures import told_as, undone_on_failure
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.launch import why
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.machine import process_record
from emberbox.vmm.recorded import write_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.firecracker.host import FirecrackerHost
    from emberbox.vmm.firecracker.launch import Launched


class FirecrackerStandby:
    """A `Standby`: its jail holds the snapshot's files, and its API has answered.

    Args:
        host: What is known of the host.
        spec: What its machine will be made from.
        launched: The process, whose undo steps belong to this until there is a machine.
    """

    def __init__(self, host: FirecrackerHost, spec: MachineSpec, launched: Launched) -> None:
        self._host = host
        self._spec = spec
        self._launched = launched
        self._used = False

    @property
    def spec(self) -> MachineSpec:
        """What its machine will be made from."""
        return self._spec

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
        record = process_record("firecracker", self._spec, self.pid)
        write_record(self._spec.run_dir, {**record, "standby": True})

    async def restore(self) -> FirecrackerMachine:
        """Load the snapshot; the clone runs when this returns. Once only.

        Raises `SnapshotFailed` with nothing left behind; safe to cancel.
        """
        if self._used:
            raise SnapshotFailed(f"the standby of virtual machine {self._spec.id} was used already")
        self._used = True
        async with cloned(self._spec, self._launched.undo):
            return await self._restored()

    async def discard(self) -> None:
        """End the process and give back what it held.

        Repeating is harmless, also after `restore`, whose machine goes on.
        """
        if not self._used:
            self._used = True
            await self._launched.undo.close()

    async def _restored(self) -> FirecrackerMachine:
        spec, launched = self._spec, self._launched
        launched.restored = True
        try:
            if launched.process.ended:
                raise VmmDied("Firecracker ended while it waited")
            load = hardware.load(spec, clock=self._host.clock)
            await launched.configure([load, *hardware.bounds(spec)])
        except VmmError as error:
            # The process ends by itself after a load that failed: what is told is the load, not the
            # connection that broke.
            reason, said = await why(spec, launched.process, launched.log, error)
            raise SnapshotFailed(
                f"virtual machine {spec.id} could not be cloned: {reason}", detail=said
            ) from error
        await asyncio.to_thread(launched.jail.seal, freezes=False)
        machine = FirecrackerMachine(spec, launched)
        machine.running()
        return machine


@asynccontextmanager
async def cloned(spec: MachineSpec, undo: UndoStack) -> AsyncIterator[None]:
    """Close `undo` when what is inside fails or is cancelled, and tell it as the failure of a clone."""
    async with undone_on_failure(undo.close):
        with told_as(SnapshotFailed, spec, "could not be cloned", also=(VmmStartFailed,)):
            yield
