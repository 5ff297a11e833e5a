"""A machine that runs in a QEMU process."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmDied
from emberbox.vmm import sockets
from emberbox.vmm.base import MachineSpec, MachineState
from emberbox.vmm.process import children, identify
from emberbox.vmm.recorded import spec_to_json, write_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.vmm.qemu.launch import Launched

_CONTROL_S = 10.0


class QemuMachine:
    """A `Machine` of the QEMU driver.

    `kill` must be called at the end, even after the VMM has ended by itself: it gives back what the machine holds on the host.

    Args:
        spec: What it was made from.
        launched: Its process, whose undo steps belong to the machine from here on.
        memory: The file that holds its memory, if it is a template; None otherwise.
    """

    def __init__(self, spec: MachineSpec, launched: Launched, *, memory: Path | None = None) -> None:
        self._spec = spec
        self._process = launched.process
        self.control = launched.control
        self.memory = memory
        self._undo = launched.undo
        self._state = MachineState.STARTING
        self._ending = False
        self._pid = _qemu_pid(launched)
        self._identity = identify(self._pid)
        self.control.on_event = self.take_event

    @property
    def spec(self) -> MachineSpec:
        """What it was made from."""
        return self._spec

    @property
    def pid(self) -> int:
        """Host pid of the QEMU process itself."""
        return self._pid

    async def open_channel(self) -> tuple[StreamReader, StreamWriter]:
        """Connect to the agent's byte stream. One connection at a time; raises `VmmDied`.

        Does not wait for the guest: what is sent is kept until its agent reads it.
        """
        try:
            client = sockets.connect(self._spec.channel_socket)
        except OSError as error:
            raise VmmDied(f"virtual machine {self._spec.id} does not take connections any more", detail=str(error)) from error
        try:
            return await asyncio.open_unix_connection(sock=client)
        except BaseException:
            client.close()
            raise

    async def pause(self) -> None:
        """Stop the vCPUs. Repeating is harmless. Raises `VmmDied` or `VmmTimeout`."""
        await self._command("stop")
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        """Let the vCPUs run on. Repeating is harmless. Raises `VmmDied` or `VmmTimeout`."""
        await self._command("cont")
        self._state = MachineState.RUNNING

    async def kill(self) -> None:
        """End the QEMU process, wait until it is gone and give back all that it held.

        Repeating is harmless; finishes even when cancelled.
        """
        self._ending = True
        if not self._process.ended:
            self._process.killed = True
        await self._undo.close()

    async def wait(self) -> int:
        """Wait for the QEMU process to end; returns its exit code (negative: the signal; 255: adopted, so not known)."""
        return await self._process.wait()

    def poll(self) -> MachineState:
        """Tell the state without blocking."""
        if self._process.ended:
            return MachineState.KILLED if self._process.killed else MachineState.EXITED
        return self._state

    def state(self) -> dict[str, Any]:
        """JSON-ready values from which the driver's `adopt` finds the machine again."""
        return {
            "driver": "qemu",
            "id": self._spec.id,
            "pid": self.pid,
            "start_time": self._identity.start_time if self._identity else 0,
            "run_dir": str(self._spec.run_dir),
            "memory": None if self.memory is None else str(self.memory),
            "spec": spec_to_json(self._spec),
        }

    def console(self) -> str:
        """What the guest printed so far; bytes that are not text are replaced."""
        try:
            with self._spec.console_log.open("rb") as file:
                return file.read(self._spec.console_bytes).decode("utf-8", "replace")
        except OSError:
            return ""

    def take_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Follow what QEMU tells about the vCPUs."""
        if name == "RESUME":
            self._state = MachineState.RUNNING
        elif name == "STOP":
            self._state = MachineState.PAUSED

    def running(self) -> None:
        """Note that the guest runs, and write the record by which it is found again."""
        self._state = MachineState.RUNNING
        write_record(self._spec.run_dir, self.state())

    async def _command(self, name: str) -> None:
        if self._process.ended or self._ending:
            raise VmmDied(f"virtual machine {self._spec.id} has ended")
        await self.control.execute(name, timeout_s=_CONTROL_S)


def _qemu_pid(launched: Launched) -> int:
    if not launched.confined:
        return launched.process.pid
    found = children(launched.process.pid)
    if not found:
        raise VmmDied("QEMU ended as soon as it ran")
    return found[0]
