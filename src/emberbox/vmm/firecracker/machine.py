"""A machine that runs in a Firecracker process."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput, VmmDied, VmmRefused
from emberbox.vmm.base import MachineSpec, MachineState, MemoryUse
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.bodies import Action, BalloonUpdate, MemoryHotplugUpdate, VmState
from emberbox.vmm.firecracker.channel import connect_agent
from emberbox.vmm.firecracker.faults import explain_exit
from emberbox.vmm.process import identify
from emberbox.vmm.recorded import spec_to_json, write_record
from emberbox.vmm.spawn import last_errors

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.bodies import Request
    from emberbox.vmm.firecracker.launch import Launched

_BOOT_S = 120.0
_RESTORED_S = 30.0
_METRICS_S = 5.0
_ENDED_S = 5.0
_MIB = 1024 * 1024


class FirecrackerMachine:
    """A `Machine`, `ReclaimingMachine`, `ResizableMachine` and `MeasuredMachine` of the Firecracker driver.

    `kill` must be called at the end, even after the VMM has ended by itself: it gives back what the machine holds on the host.

    Args:
        spec: What it was made from.
        launched: Its process, whose undo steps belong to the machine from here on.
        memory: Where its memory goes when it is frozen, if it is a template; None otherwise.
    """

    def __init__(self, spec: MachineSpec, launched: Launched, *, memory: Path | None = None) -> None:
        self._spec = spec
        self.launched = launched
        self.memory = memory
        self._process = launched.process
        self._state = MachineState.STARTING
        self._ending = False
        self._identity = identify(launched.pid)

    @property
    def spec(self) -> MachineSpec:
        """What it was made from."""
        return self._spec

    @property
    def pid(self) -> int:
        """Host pid of Firecracker itself."""
        return self.launched.pid

    async def open_channel(self) -> tuple[StreamReader, StreamWriter]:
        """Connect to the agent's byte stream, as soon as it listens. One connection at a time.

        Raises `VmmDied`, or `VmmTimeout` when nobody listened within 120 s of a boot, 30 s of a restore.
        """
        path = self.launched.jail.root / hardware.VSOCK.lstrip("/")
        timeout_s = _RESTORED_S if self.launched.restored else _BOOT_S
        try:
            return await connect_agent(path, alive=lambda: not self._process.ended, timeout_s=timeout_s)
        except VmmDied as error:
            raise await self._explained(error) from error

    async def pause(self) -> None:
        """Stop the vCPUs. Repeating is harmless.

        Raises `VmmRefused`, with the machine running on, for a release whose machines hear nothing any more after a pause; else
        `VmmError`.
        """
        if not self.launched.pauses and not self._process.ended:
            raise VmmRefused(
                "this release of Firecracker cuts a machine off from its host once it was paused and goes on, so it is not"
                " paused; install 1.16.2 or later: emberbox setup --vmm firecracker --version X.Y.Z"
            )
        await self.freeze()

    async def freeze(self) -> None:
        """Stop the vCPUs for good, whatever the release. Raises `VmmError`."""
        await self.request(VmState(state="Paused"))
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        """Let the vCPUs run on. Repeating is harmless. Raises `VmmError`."""
        await self.request(VmState(state="Resumed"))
        self._state = MachineState.RUNNING

    async def kill(self) -> None:
        """End the Firecracker process, wait until it is gone and give back all that it held.

        Repeating is harmless; finishes even when cancelled.
        """
        self._ending = True
        if not self._process.ended:
            self._process.killed = True
        await self.launched.undo.close()

    async def halt(self) -> None:
        """End the Firecracker process and keep its jail. Raises `VmmTimeout`."""
        self._ending = True
        await self._process.kill()

    async def wait(self) -> int:
        """Wait for the process to end; returns its exit code (negative: the signal; 255: adopted, so not known)."""
        return await self._process.wait()

    def poll(self) -> MachineState:
        """Tell the state without blocking."""
        if self._process.ended:
            return MachineState.KILLED if self._process.killed else MachineState.EXITED
        return self._state

    def state(self) -> dict[str, Any]:
        """JSON-ready values from which the driver's `adopt` finds the machine again."""
        return {
            "driver": "firecracker",
            "id": self._spec.id,
            "pid": self.pid,
            "start_time": self._identity.start_time if self._identity else 0,
            "run_dir": str(self._spec.run_dir),
            "memory": None if self.memory is None else str(self.memory),
            "restored": self.launched.restored,
            "spec": spec_to_json(self._spec),
        }

    def console(self) -> str:
        """What the guest printed so far; bytes that are not text are replaced."""
        try:
            with self._spec.console_log.open("rb") as file:
                return file.read(self._spec.console_bytes).decode("utf-8", "replace")
        except OSError:
            return ""

    async def reclaim(self, leave_mib: int | None) -> None:
        """Ask the guest to keep about `leave_mib` by filling its balloon; None empties it. Raises `VmmError`."""
        held = 0 if leave_mib is None else max(0, self._spec.memory_mib - leave_mib)
        await self.request(BalloonUpdate(amount_mib=held))

    async def memory_use(self) -> MemoryUse:
        """Tell what the guest holds, as it told last (every 5 s). Raises `VmmError`."""
        told = await self.launched.api.balloon_statistics()
        return MemoryUse(
            held_mib=max(0, self._spec.memory_mib - told.actual_mib),
            available_mib=None if told.available_memory is None else told.available_memory // _MIB,
            free_mib=None if told.free_memory is None else told.free_memory // _MIB,
        )

    async def resize_memory(self, memory_mib: int) -> None:
        """Ask for `memory_mib` in all, in steps of 2 MiB. Firecracker has nothing of the kind for vCPUs.

        Raises `InvalidInput` beyond the spec's bounds, `VmmError` when Firecracker refuses.
        """
        least, most = self._spec.memory_mib, self._spec.memory_max_mib or self._spec.memory_mib
        if not least <= memory_mib <= most:
            raise InvalidInput(f"this machine's memory may be {least} to {most} MiB, not {memory_mib}")
        more = -(-(memory_mib - least) // hardware.HOTPLUG_BLOCK_MIB) * hardware.HOTPLUG_BLOCK_MIB
        if most > least:
            await self.request(MemoryHotplugUpdate(requested_size_mib=more))

    async def counters(self) -> dict[str, int]:
        """Have Firecracker write its metrics and return what it has counted since it started. Raises `VmmError`."""
        metrics = self.launched.metrics
        seen = metrics.lines
        await self.request(Action(action_type="FlushMetrics"))
        await metrics.next_line(seen, _METRICS_S)
        return dict(metrics.counters)

    def running(self, state: MachineState = MachineState.RUNNING) -> None:
        """Note that the guest runs, and write the record by which it is found again."""
        self._state = state
        write_record(self._spec.run_dir, self.state())

    async def request(self, request: Request) -> None:
        """Send a request. Raises `VmmError`; `VmmDied` tells what the exit code means."""
        if self._process.ended or self._ending:
            raise VmmDied(f"virtual machine {self._spec.id} has ended")
        try:
            await self.launched.api.send(request)
        except VmmDied as error:
            raise await self._explained(error) from error

    async def _explained(self, error: VmmDied) -> VmmDied:
        try:
            async with asyncio.timeout(_ENDED_S):
                code = await self._process.wait()
        except TimeoutError:
            return error
        said = "\n".join((last_errors(self._spec.run_dir), self.launched.log.tail()))
        return VmmDied(f"virtual machine {self._spec.id} has ended: {explain_exit(code, said)}", detail=said or error.detail)
