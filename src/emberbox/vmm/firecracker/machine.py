"""A machine that runs in a Firecracker process."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput, VmmDied, VmmNotReady, VmmRefused
from emberbox.vmm.base import MachineState, MemoryUse
from emberbox.vmm.firecracker import hardware
from emberbox.vmm.firecracker.channel import connect_agent
from emberbox.vmm.firecracker.requests.faults import FirecrackerFault, explain_exit
from emberbox.vmm.firecracker.requests.request import Request
from emberbox.vmm.machine import VmmMachine

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.launch import JailedFirecracker
    from emberbox.vmm.process.cgroup import Cgroup

_BOOT_S = 3600.0
"""Whoever boots a machine has a closer look at it (`boots.watch`)."""
_RESTORED_S = 30.0
_DRIVEN_S = 10.0
"""How long a guest that boots may take until it drives a device that something is asked of."""
_DRIVEN_PAUSE_S = 0.05
_METRICS_S = 5.0
_MIB = 1024 * 1024


class FirecrackerMachine(VmmMachine):
    """A `Machine`, `ReclaimingMachine`, `ResizableMachine` and `MeasuredMachine` of the Firecracker driver.

    Args:
        launched: Its process, whose undo steps belong to the machine from here on.
        memory: Where its memory goes when it is frozen, if it is a template; None otherwise.
    """

    def __init__(self, launched: JailedFirecracker, *, memory: Path | None = None) -> None:
        process, undo = launched.process, launched.undo
        super().__init__("firecracker", launched.spec, process, launched.pid, undo, memory=memory)
        self.launched = launched

    async def open_channel(self) -> tuple[StreamReader, StreamWriter]:
        """Connect to the agent's byte stream, as soon as it listens. One connection at a time.

        Raises `VmmDied`, or `VmmTimeout` when nobody listened within an hour of a boot, 30 s of a restore.
        """
        path = self.launched.jail.root / hardware.VSOCK.lstrip("/")
        timeout_s = _RESTORED_S if self.launched.restored else _BOOT_S
        try:
            return await connect_agent(path, alive=lambda: not self._process.ended, timeout_s=timeout_s)
        except VmmDied as error:
            raise await self._explained(error) from error

    async def pause(self) -> None:
        """Stop the vCPUs. Repeating is harmless.

        Raises `VmmRefused`, with the machine running on, for a release whose machines hear nothing
        any more after a pause; else `VmmError`.
        """
        if not self.launched.host.pauses and not self._process.ended:
            raise VmmRefused(
                "this release of Firecracker cuts a machine off from its host once it was paused and goes "
                "on, so it is not paused; install 1.16.2 or later: emberbox setup --vmm firecracker "
                "--version X.Y.Z"
            )
        await self.freeze()

    async def freeze(self) -> None:
        """Stop the vCPUs for good, whatever the release. Raises `VmmError`."""
        await self.request(Request("PATCH", "/vm", {"state": "Paused"}))
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        """Let the vCPUs run on. Repeating is harmless. Raises `VmmError`."""
        await self.request(Request("PATCH", "/vm", {"state": "Resumed"}))
        self._state = MachineState.RUNNING

    async def halt(self) -> None:
        """End the Firecracker process and keep its jail. Raises `VmmTimeout`."""
        self._ending = True
        await self._process.kill()

    def state(self) -> dict[str, Any]:
        """JSON-ready values from which the driver's `adopt` finds the machine again."""
        return {**super().state(), "restored": self.launched.restored}

    async def reclaim(self, leave_mib: int | None) -> None:
        """Ask the guest to keep about `leave_mib` by filling its balloon; None empties it.

        Waits 10 s at most for a guest that boots to drive its balloon. Raises `VmmError`;
        `VmmNotReady` when it does not yet.
        """
        held = 0 if leave_mib is None else max(0, self._spec.memory_mib - leave_mib)
        await self._once_driven(Request("PATCH", "/balloon", {"amount_mib": held}), "balloon")

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

        Waits 10 s at most for a guest that boots to drive the device. Raises `InvalidInput` beyond
        the spec's bounds, `VmmError` when Firecracker refuses; `VmmNotReady` when the guest does
        not drive it yet.
        """
        least, most = self._spec.memory_mib, self._spec.memory_max_mib or self._spec.memory_mib
        if not least <= memory_mib <= most:
            raise InvalidInput(f"this machine's memory may be {least} to {most} MiB, not {memory_mib}")
        more = -(-(memory_mib - least) // hardware.HOTPLUG_BLOCK_MIB) * hardware.HOTPLUG_BLOCK_MIB
        if most > least:
            request = Request("PATCH", "/hotplug/memory", {"requested_size_mib": more})
            await self._once_driven(request, "pluggable memory")

    async def counters(self) -> dict[str, int]:
        """Have Firecracker write its metrics and return what it has counted since it started.

        Raises `VmmError`.
        """
        metrics = self.launched.metrics
        seen = metrics.lines
        await self.request(Request("PUT", "/actions", {"action_type": "FlushMetrics"}))
        await metrics.next_line(seen, _METRICS_S)
        return dict(metrics.counters)

    async def request(self, request: Request) -> None:
        """Send a request. Raises `VmmError`; `VmmDied` tells what the exit code means."""
        self._require_life()
        try:
            await self.launched.api.send(request)
        except VmmDied as error:
            raise await self._explained(error) from error

    def _group(self) -> Cgroup | None:
        return self.launched.group

    def _explain_exit(self, code: int) -> str:
        return explain_exit(code, "")

    async def _once_driven(self, request: Request, device: str) -> None:
        """Send a request that is taken only once the guest's driver is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DRIVEN_S
        while True:
            try:
                return await self.request(request)
            except FirecrackerFault as fault:
                if not fault.too_early:
                    raise
                if loop.time() >= deadline:
                    raise VmmNotReady(
                        f"the guest of virtual machine {self._spec.id} does not drive its {device} yet; "
                        "nothing was changed: try again once it has booted",
                        detail=fault.detail,
                    ) from fault
            await asyncio.sleep(_DRIVEN_PAUSE_S)

    async def _explained(self, error: VmmDied) -> VmmDied:
        reason, said = await self.launched.why(error)
        if not self._process.ended:
            return error
        return VmmDied(f"virtual machine {self._spec.id} has ended: {reason}", detail=said)
