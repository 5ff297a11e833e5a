"""The life of one microVM, from nothing configured to its end."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker import clock, snapshot
from tests.peers.firecracker.configuration import Configuration, restored
from tests.peers.firecracker.devices import Devices
from tests.peers.firecracker.faults import Fault, spoken
from tests.peers.firecracker.machine import Machine
from tests.peers.firecracker.qmp import QmpError
from tests.peers.firecracker.routes import When
from tests.peers.firecracker.schema import MALFORMED
from tests.peers.firecracker.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.firecracker.metrics import Metrics
    from tests.peers.firecracker.options import Options
    from tests.peers.firecracker.output import Log
    from tests.peers.firecracker.routes import Route

_AFTER = "The requested operation is not supported after starting the microVM."
_BEFORE = "The requested operation is not supported before starting the microVM."
_CONFIGURED = (
    "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."
)
_UNSAVED = "Create snapshot error: Cannot save the microVM state:"
_ELF = b"\x7fELF"
_START = "Start microvm error:"
_NO_KERNEL = f"{_START} Cannot load kernel due to invalid kernel image: it is no ELF file"
_FLOOD = "The guest drove the device into an unexpected state. " * 4
_FLOOD_PAUSE_S = 0.001
_DEAF_AFTER_PAUSE = ("1.16.0", "1.16.1")


class Controller:
    """Runs actions, one at a time: its own, and those of `Setup` and `Devices`.

    Args:
        identity: The microVM's id.
        options: How this peer behaves.
        log: Its log.
        metrics: Its counters.
        on_end: Called with the exit code when the process is to end.
    """

    def __init__(
        self, identity: str, options: Options, log: Log, metrics: Metrics, on_end: Callable[[int], None]
    ) -> None:
        self._identity = identity
        self._options = options
        self._log = log
        self._metrics = metrics
        self._end = on_end
        self._setup = Setup(options, log, metrics, lambda: self._machine is not None)
        self._machine: Machine | None = None
        self._devices: Devices | None = None
        self._paused = False
        self._only_paused = False
        self._saved: bytes | None = None
        self._flooding: asyncio.Task[None] | None = None
        self.ending: int | None = None
        """Exit code with which the process must end once the answer is sent; None to go on."""

    async def run(self, route: Route, body: dict[str, Any] | None) -> dict[str, Any] | None:
        """Do what a route stands for. Raises `Fault`."""
        if route.when is When.BEFORE and self._machine is not None:
            raise Fault(_AFTER)
        if route.when is When.AFTER and self._machine is None:
            raise Fault(_BEFORE)
        owner = next(owner for owner in (self, self._setup, self._devices) if hasattr(owner, route.action))
        try:
            answer: dict[str, Any] | None = await getattr(owner, route.action)(body)
        except (QmpError, TimeoutError) as error:
            raise Fault(f"Internal error: {error}") from error
        return answer

    async def flush(self) -> bool:
        """Write the metrics. Returns whether they were taken."""
        self._metrics.reached("logger", "missed_log_count", self._log.missed)
        self._metrics.reached("uart", "write_count", self._setup.console.written)
        self._metrics.reached("uart", "rate_limiter_dropped_bytes", self._setup.console.dropped)
        if self._machine is not None:
            for name, count in (await self._machine.disks.counters()).items():
                self._metrics.reached("block", name, count)
        return self._metrics.flush()

    async def close(self) -> None:
        """End the guest. Repeating is harmless."""
        if self._flooding is not None:
            self._flooding.cancel()
        if self._machine is not None:
            await self._machine.close()

    async def describe_instance(self, _: None) -> dict[str, Any]:
        """GET /."""
        self._metrics.add("get_api_requests", "instance_info_count")
        state = "Not started" if self._machine is None else "Paused" if self._paused else "Running"
        return {
            "id": self._identity,
            "state": state,
            "vmm_version": self._options.version,
            "app_name": "Firecracker",
        }

    async def get_version(self, _: None) -> dict[str, Any]:
        """GET /version."""
        self._metrics.add("get_api_requests", "vmm_version_count")
        return {"firecracker_version": self._options.version}

    async def act(self, body: dict[str, Any]) -> None:
        """PUT /actions."""
        kind = body["action_type"]
        if (kind == "InstanceStart") == (self._machine is not None):
            raise Fault(_AFTER if kind == "InstanceStart" else _BEFORE)
        if self._machine is None:
            await self._start()
        elif kind == "SendCtrlAltDel":
            # The machine has no keyboard. A guest that has one reboots, and one that has not come
            # that far hears nothing.
            if await self._machine.driven():
                await self._machine.execute("system_reset")
        elif not await self.flush():
            raise Fault("Internal Vmm error: Metrics error: they could not be written")

    async def patch_vm(self, body: dict[str, Any]) -> None:
        """PATCH /vm. Repeating is harmless."""
        pause = body["state"] == "Paused"
        if pause == self._paused:
            return
        began = time.monotonic()
        if pause:
            await self._started().pause()
        else:
            self._saved = None
            if self._only_paused and self._options.version in _DEAF_AFTER_PAUSE:
                self._started().deafen()
            await self._started().resume()
        self._only_paused = pause
        self._paused = pause
        self._metrics.took("pause_vm" if pause else "resume_vm", time.monotonic() - began)

    async def create_snapshot(self, body: dict[str, Any]) -> None:
        """PUT /snapshot/create. The guest stays paused."""
        machine = self._started()
        if not self._paused:
            raise Fault(f"{_UNSAVED} Operation not allowed: save/restore unavailable while running")
        self._only_paused = False
        began = time.monotonic()
        # QEMU saves the devices of a paused guest once only; nothing has changed since.
        self._saved = self._saved or await machine.save()
        await asyncio.to_thread(snapshot.write_memory, machine.memory, body["mem_file_path"])
        configuration, version = self._setup.configuration.saved(), self._options.snapshot_version
        await asyncio.to_thread(
            snapshot.write_state, body["snapshot_path"], version, configuration, self._saved
        )
        self._metrics.took("full_create_snapshot", time.monotonic() - began)

    async def load_snapshot(self, body: dict[str, Any]) -> None:
        """PUT /snapshot/load. When it was tried and failed, the process ends."""
        began = time.monotonic()
        if self._setup.configuration.touched:
            raise Fault(_CONFIGURED)
        memory = _memory_path(body)
        self._options.crash("load")
        try:
            await self._load(body, memory)
        except Fault as fault:
            self.ending = 1
            told = f"Load snapshot error: Failed to restore from snapshot: {fault.message}"
            self._log.write(f"RunWithApiError error: {told}", level="error")
            self._options.crash("load failed")
            raise Fault(told) from fault
        self._metrics.took("load_snapshot", time.monotonic() - began)

    async def _start(self) -> None:
        configuration = self._setup.configuration
        if configuration.boot_source is None:
            raise Fault(f"{_START} Cannot start microvm without kernel configuration.")
        if configuration.pmem:
            raise Fault(f"{_START} this peer has no pmem devices.")
        if os.pread(configuration.descriptors["kernel"], len(_ELF), 0) != _ELF:
            raise Fault(_NO_KERNEL)
        self._setup.open_console()
        self._options.crash("InstanceStart")
        machine = self._new_machine(configuration)
        try:
            await machine.start(khz=await asyncio.to_thread(clock.counter_khz))
            devices = Devices(machine, configuration, self._metrics)
            await devices.begin()
        except BaseException:
            await machine.close()
            raise
        await machine.resume()
        self._running(machine, devices)

    async def _load(self, body: dict[str, Any], memory: str) -> None:
        saved, state = snapshot.read_state(body["snapshot_path"], self._options.snapshot_version)
        configuration = restored(saved, lambda found: _override(found, body))
        machine = self._new_machine(configuration)
        try:
            filling = asyncio.create_task(asyncio.to_thread(snapshot.read_memory, machine.memory, memory))
            await machine.start(state=state, filled=filling)
            devices = Devices(machine, configuration, self._metrics)
            await devices.begin()
        except BaseException:
            await machine.close()
            raise
        self._setup.configuration = configuration
        self._paused = not body.get("resume_vm", False)
        if not self._paused:
            await machine.resume()
        self._running(machine, devices)

    def _new_machine(self, configuration: Configuration) -> Machine:
        options, console = self._options, self._setup.console
        try:
            return Machine(
                options.qemu,
                options.processor,
                configuration,
                console,
                silent=options.vsock_silent,
                on_end=self._guest_ended,
            )
        except OSError as error:
            raise Fault(f"{_START} guest memory: {spoken(error)}") from error

    def _running(self, machine: Machine, devices: Devices) -> None:
        self._machine = machine
        self._devices = devices
        self._options.crash_later()
        if self._options.flood_log:
            self._flooding = asyncio.create_task(self._flood(), name="flood")

    def _started(self) -> Machine:
        if self._machine is None:
            raise Fault(_BEFORE)
        return self._machine

    def _guest_ended(self, code: int) -> None:
        self._log.write(
            f"Vmm is stopping. exit_code={code}", level="info" if code == 0 else "error", thread="fc_vcpu 0"
        )
        self._end(code)

    async def _flood(self) -> None:
        while True:
            taken = self._log.write(_FLOOD, thread="fc_vcpu 0")
            await asyncio.sleep(0 if taken else _FLOOD_PAUSE_S)


def _memory_path(body: dict[str, Any]) -> str:
    if ("mem_backend" in body) == ("mem_file_path" in body):
        either = "either `mem_backend` or `mem_file_path`"
        what = (
            f"too many fields: {either} exclusively" if "mem_backend" in body else f"missing field: {either}"
        )
        raise Fault(f"{MALFORMED} {what} is required.")
    backend = body.get("mem_backend", {"backend_type": "File", "backend_path": body.get("mem_file_path")})
    if backend["backend_type"] != "File":
        raise Fault("Load snapshot error: this peer loads memory from files only")
    return str(backend["backend_path"])


def _override(configuration: Configuration, body: dict[str, Any]) -> None:
    for override in body.get("network_overrides", ()):
        interface = configuration.interfaces.get(override["iface_id"])
        if interface is None:
            raise Fault("Unknown Network Device.")
        interface["host_dev_name"] = override["host_dev_name"]
    if "vsock_override" in body:
        if configuration.vsock is None:
            raise Fault("Unknown Vsock Device.")
        configuration.vsock["uds_path"] = body["vsock_override"]["uds_path"]
