"""A Firecracker process that was started and jailed ahead of time: a clone is one load away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed, VmmDied, VmmStartFailed
from emberbox.vmm.failures import told_as, undone_on_failure
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.machine import FirecrackerMachine
from emberbox.vmm.machine import process_record
from emberbox.vmm.recorded import write_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.firecracker.launch import JailedFirecracker


class FirecrackerStandby:
    """A `Standby`: its jail holds the snapshot's files, and its API has answered.

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
        async with cloned(launched):
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
async def cloned(launched: JailedFirecracker) -> AsyncIterator[None]:
    """Undo it when what is inside fails or is cancelled, and tell that as the failure of a clone."""
    async with undone_on_failure(launched.undo.close):
        with told_as(SnapshotFailed, launched.spec, "could not be cloned", also=(VmmStartFailed,)):
            yield
