"""A VM whose guest does what a test says, behind the interface of a driver. Its process is this one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emberbox.doctor.trials.kernel import WORD
from emberbox.vmm.base import MachineState

if TYPE_CHECKING:
    from emberbox.vmm.base import MachineSpec


class ScriptedMachine:
    """What a trial needs of a machine.

    Args:
        spec: What it was made from.
        says: What its guest has written.
        state: How it stands.
    """

    def __init__(
        self, spec: MachineSpec, says: bytes = WORD * 100, state: MachineState = MachineState.RUNNING
    ) -> None:
        self.spec = spec
        self.pid = os.getpid()
        self.killed = False
        self._says = says
        self._state = state

    def console(self) -> str:
        return self._says.decode()[: self.spec.console_bytes]

    def poll(self) -> MachineState:
        return self._state

    async def wait(self) -> int:
        return 7

    async def kill(self) -> None:
        self.killed = True
