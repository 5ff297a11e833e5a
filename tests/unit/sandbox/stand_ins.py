"""A driver and its machines for tests of what stands on them: a machine is an agent and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmStartFailed
from emberbox.testing import FakeAgent
from emberbox.vmm.base import MachineSpec, MachineState, Snapshot

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path


class StandInMachine:
    """A machine that is an agent and nothing else."""

    def __init__(self, spec: MachineSpec, *, clone: bool) -> None:
        self.spec = spec
        self.pid = os.getpid()
        self.agent = FakeAgent(clone=clone)
        self.state = MachineState.RUNNING

    async def open_channel(self) -> tuple[StreamReader, StreamWriter]:
        return await self.agent.connect()

    def poll(self) -> MachineState:
        return self.state

    def console(self) -> str:
        return ""

    async def kill(self) -> None:
        self.state = MachineState.KILLED
        await self.agent.close()


class StandIn:
    """Driver, snapshot, and standby in one; counts what lives."""

    name = "stand-in"

    def __init__(self) -> None:
        self.made: list[StandInMachine] = []
        self.broken = 0
        self.prepared = 0
        self.discarded = 0
        self.alive = True
        self._spec: Any = None

    async def start(self, spec: MachineSpec) -> StandInMachine:
        return self._machine(spec, clone=False)

    async def restore(self, spec: MachineSpec | None = None) -> StandInMachine:
        return self._machine(spec or self._spec, clone=True)

    async def start_template(self, spec: MachineSpec, memory: Path) -> StandInMachine:
        memory.write_bytes(b"memory")
        return self._machine(spec, clone=False)

    async def snapshot(self, machine: object, state: Path) -> Snapshot:
        state.write_bytes(b"state")
        return Snapshot(memory=state.with_name("memory"), state=state, vmm_version="1")

    async def open_snapshot(self, snapshot: Snapshot) -> StandIn:
        return self

    async def prepare(self, spec: MachineSpec) -> StandIn:
        self._spec = spec
        self.prepared += 1
        return self

    async def discard(self) -> None:
        self.discarded += 1

    async def close(self) -> None:
        pass

    def _machine(self, spec: MachineSpec, *, clone: bool) -> StandInMachine:
        if self.broken:
            self.broken -= 1
            raise VmmStartFailed("not today")
        self.made.append(StandInMachine(spec, clone=clone))
        return self.made[-1]
