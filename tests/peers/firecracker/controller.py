"""What the API does: the state of one microVM, from nothing configured to its end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker import balloon, clock, snapshot
from tests.peers.firecracker.configuration import Configuration, check_free, restored
from tests.peers.firecracker.faults import Fault, spoken
from tests.peers.firecracker.machine import Machine
from tests.peers.firecracker.mmds import Mmds
from tests.peers.firecracker.output import Console
from tests.peers.firecracker.qmp import QmpError
from tests.peers.firecracker.routes import When

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.firecracker.metrics import Metrics
    from tests.peers.firecracker.options import Options
    from tests.peers.firecracker.output import Log
    from tests.peers.firecracker.routes import Route

_AFTER = "The requested operation is not supported after starting the microVM."
_BEFORE = "The requested operation is not supported before starting the microVM."
_FLOOD_PAUSE_S = 0.001


class Controller:
    """Runs actions, one at a time. Each is a method with a route's name; it gets the body and returns what is answered, or None.

    Args:
        identity: The microVM's id.
        options: How this peer behaves.
        log: Its log.
        metrics: Its counters.
        on_end: Called with the exit code when the process is to end.
    """

    def __init__(self, identity: str, options: Options, log: Log, metrics: Metrics, on_end: Callable[[int], None]) -> None:
        self._identity = identity
        self._options = options
        self._log = log
        self._metrics = metrics
        self._end = on_end
        self._configuration = Configuration()
        self._console = Console()
        self._machine: Machine | None = None
        self._paused = False
        self._saved: bytes | None = None
        self._balloon: balloon.RunningBalloon | None = None
        self._plugged_mib = 0
        self._mmds = Mmds()
        self._flooding: asyncio.Task[None] | None = None
        self.ending: int | None = None
        """Exit code with which the process must end once the answer is sent; None to go on."""

    async def run(self, route: Route, body: dict[str, Any] | None) -> dict[str, Any] | None:
        """Do what a route stands for. Raises `Fault`."""
        if route.when is When.BEFORE and self._machine is not None:
            raise Fault(_AFTER)
        if route.when is When.AFTER and self._machine is None:
            raise Fault(_BEFORE)
        try:
            answer: dict[str, Any] | None = await getattr(self, f"_{route.action}")(body)
        except QmpError as error:
            raise Fault(f"Internal error: {error}") from error
        return answer

    async def flush(self) -> bool:
        """Write the metrics. Returns whether they were taken."""
        if self._machine is not None:
            await self._count(self._machine)
        return self._metrics.flush()

    async def close(self) -> None:
        """End the guest. Repeating is harmless."""
        if self._flooding is not None:
            self._flooding.cancel()
        if self._machine is not None:
            await self._machine.close()

    # Instance

    async def _describe_instance(self, _: None) -> dict[str, Any]:
        self._metrics.add("get_api_requests", "instance_info_count")
        state = "Not started" if self._machine is None else "Paused" if self._paused else "Running"
        return {"id": self._identity, "state": state, "vmm_version": self._options.version, "app_name": "Firecracker"}

    async def _get_version(self, _: None) -> dict[str, Any]:
        self._metrics.add("get_api_requests", "vmm_version_count")
        return {"firecracker_version": self._options.version}

    async def _get_vm_config(self, _: None) -> dict[str, Any]:
        return self._configuration.described()

    async def _act(self, body: dict[str, Any]) -> None:
        kind = body["action_type"]
        if kind == "InstanceStart":
            if self._machine is not None:
                raise Fault(_AFTER)
            await self._start()
            return
        machine = self._started()
        if kind == "FlushMetrics":
            if not await self.flush():
                raise Fault("Internal Vmm error: Metrics error: they could not be written")
            return
        await machine.execute("system_reset")  # Ctrl+Alt+Del has the guest reboot; there is no keyboard here

    async def _patch_vm(self, body: dict[str, Any]) -> None:
        machine = self._started()
        began = time.monotonic()
        if body["state"] == "Paused" and not self._paused:
            await machine.execute("stop")
            self._metrics.took("pause_vm", time.monotonic() - began)
            self._paused = True
        elif body["state"] == "Resumed" and self._paused:
            self._saved = None
            await machine.execute("cont")
            self._metrics.took("resume_vm", time.monotonic() - began)
            self._paused = False

    async def _start(self) -> None:
        configuration = self._configuration
        if configuration.boot_source is None:
            raise Fault("Cannot start microvm without kernel configuration.")
        if configuration.pmem:
            raise Fault("Internal error while starting microVM: this peer has no pmem devices.")
        self._options.crash("InstanceStart")
        if configuration.vsock is not None:
            check_free(configuration.vsock["uds_path"])
        machine = self._new_machine(configuration)
        try:
            await machine.start(khz=await asyncio.to_thread(clock.counter_khz))
            await self._begin(machine, configuration)
        except Fault:
            await machine.close()
            raise
        await machine.execute("cont")
        self._running(machine)

    def _new_machine(self, configuration: Configuration) -> Machine:
        try:
            return Machine(
                self._options.qemu, configuration, self._console, silent=self._options.vsock_silent, on_end=self._guest_ended
            )
        except OSError as error:
            raise Fault(f"Internal error while starting microVM: guest memory: {spoken(error)}") from error

    async def _begin(self, machine: Machine, configuration: Configuration) -> None:
        if configuration.balloon is not None:
            self._balloon = balloon.RunningBalloon(machine, configuration.balloon)
            await self._balloon.begin()

    def _running(self, machine: Machine) -> None:
        self._machine = machine
        self._log.write("Successfully started microvm that was configured from one single json", level="debug")
        self._options.crash_later()
        if self._options.flood_log:
            self._flooding = asyncio.create_task(self._flood(), name="flood")

    def _guest_ended(self, code: int) -> None:
        self._log.write(f"Vmm is stopping. exit_code={code}", level="info" if code == 0 else "error", thread="fc_vcpu 0")
        self._end(code)

    async def _flood(self) -> None:
        while True:
            taken = self._log.write("The guest drove the device into an unexpected state. " * 4, thread="fc_vcpu 0")
            await asyncio.sleep(0 if taken else _FLOOD_PAUSE_S)

    def _started(self) -> Machine:
        if self._machine is None:
            raise Fault(_BEFORE)
        return self._machine

    # Before the start

    async def _put_boot_source(self, body: dict[str, Any]) -> None:
        self._configuration.put_boot_source(body)

    async def _put_cpu_config(self, body: dict[str, Any]) -> None:
        self._configuration.cpu_config = body
        self._configuration.touched = True

    async def _put_drive(self, body: dict[str, Any]) -> None:
        self._configuration.put_drive(body)

    async def _put_pmem(self, body: dict[str, Any]) -> None:
        self._configuration.pmem[body["id"]] = body
        self._configuration.touched = True

    async def _put_entropy(self, body: dict[str, Any]) -> None:
        self._configuration.entropy = body
        self._configuration.touched = True

    async def _put_vsock(self, body: dict[str, Any]) -> None:
        self._configuration.put_vsock(body)

    async def _put_balloon(self, body: dict[str, Any]) -> None:
        self._configuration.put_balloon(body)

    async def _put_network_interface(self, body: dict[str, Any]) -> None:
        self._configuration.put_interface(body)

    async def _put_memory_hotplug(self, body: dict[str, Any]) -> None:
        self._configuration.put_memory_hotplug(body)

    async def _put_mmds_config(self, body: dict[str, Any]) -> None:
        self._configuration.put_mmds_config(body)

    async def _put_machine_config(self, body: dict[str, Any]) -> None:
        self._configuration.put_machine(body)

    async def _patch_machine_config(self, body: dict[str, Any]) -> None:
        if not body:
            raise Fault("Empty PATCH request.")
        self._configuration.patch_machine(body)

    async def _get_machine_config(self, _: None) -> dict[str, Any]:
        self._metrics.add("get_api_requests", "machine_cfg_count")
        return {name: value for name, value in self._configuration.machine.items() if (name, value) != ("cpu_template", "None")}

    async def _put_logger(self, body: dict[str, Any]) -> None:
        try:
            self._log.configure(path=body.get("log_path"), level=body.get("level"), show_level=body.get("show_level"))
        except OSError as error:
            raise Fault(f"Failed to initialize logger: Failed to open target file: {spoken(error)}") from error
        self._log.write(f"Running Firecracker v{self._options.version}")

    async def _put_metrics(self, body: dict[str, Any]) -> None:
        if self._metrics.configured:
            raise Fault("Reinitialization of metrics not allowed.")
        try:
            self._metrics.configure(body["metrics_path"], emit_id=body.get("emit_id", False), properties=body.get("properties"))
        except OSError as error:
            raise Fault(f"Failed to initialize metrics: {spoken(error)}") from error

    async def _put_serial(self, body: dict[str, Any]) -> None:
        try:
            if "serial_out_path" in body:
                self._console.redirect(body["serial_out_path"])
        except OSError as error:
            raise Fault(f"Serial device error: {spoken(error)}") from error
        self._configuration.touched = True

    # MMDS

    async def _put_mmds(self, body: dict[str, Any]) -> None:
        self._mmds.put(body)

    async def _patch_mmds(self, body: dict[str, Any]) -> None:
        self._mmds.patch(body)

    async def _get_mmds(self, _: None) -> dict[str, Any]:
        return self._mmds.get()

    # After the start

    async def _get_balloon(self, _: None) -> dict[str, Any]:
        self._metrics.add("get_api_requests", "balloon_count")
        if self._configuration.balloon is None:
            raise Fault("Balloon device error: Device not found")
        return self._configuration.balloon

    async def _patch_balloon(self, body: dict[str, Any]) -> None:
        await balloon.present(self._balloon).resize(body["amount_mib"])

    async def _get_balloon_statistics(self, _: None) -> dict[str, Any]:
        statistics: dict[str, Any] = await balloon.present(self._balloon).statistics()
        return statistics

    async def _patch_balloon_statistics(self, body: dict[str, Any]) -> None:
        await balloon.present(self._balloon).set_polling(body["stats_polling_interval_s"])

    async def _start_hinting(self, _: dict[str, Any]) -> None:
        balloon.present(self._balloon).start_hinting()

    async def _stop_hinting(self, _: None) -> None:
        balloon.present(self._balloon).stop_hinting()

    async def _get_hinting(self, _: None) -> dict[str, Any]:
        status: dict[str, Any] = balloon.present(self._balloon).hinting()
        return status

    async def _patch_drive(self, body: dict[str, Any]) -> None:
        name = body["drive_id"]
        drive = self._configuration.drives.get(name)
        if drive is None:
            raise Fault(f"Unable to patch the block device: Invalid device {name}: not found")
        machine = self._started()
        if "path_on_host" in body:
            changed = drive | {"path_on_host": body["path_on_host"]}
            self._configuration.open_drive(changed)
            self._configuration.drives[name] = changed
            await machine.replace_drive(name)
            self._metrics.add("block", "update_count")
        if "rate_limiter" in body:
            self._configuration.drives[name]["rate_limiter"] = body["rate_limiter"]
            await machine.limit_drive(name)

    async def _patch_pmem(self, body: dict[str, Any]) -> None:
        raise Fault(f"Unable to patch the pmem device: {body['id']} not found")

    async def _patch_network_interface(self, body: dict[str, Any]) -> None:
        if body["iface_id"] not in self._configuration.interfaces:
            raise Fault(f"Unable to patch the network device: {body['iface_id']} not found")
        self._configuration.interfaces[body["iface_id"]] |= body

    async def _patch_memory_hotplug(self, body: dict[str, Any]) -> None:
        device = self._hotplug()
        wanted = body.get("requested_size_mib", 0)
        if wanted > device["total_size_mib"] or wanted % device["block_size_mib"]:
            raise Fault("Memory hotplug: the requested size is too large or no multiple of the block size.")
        self._plugged_mib = wanted

    async def _get_memory_hotplug(self, _: None) -> dict[str, Any]:
        return self._hotplug() | {"plugged_size_mib": self._plugged_mib, "requested_size_mib": self._plugged_mib}

    def _hotplug(self) -> dict[str, Any]:
        if self._configuration.memory_hotplug is None:
            raise Fault("Memory hotplug: Device not found")
        return self._configuration.memory_hotplug

    # Snapshots

    async def _create_snapshot(self, body: dict[str, Any]) -> None:
        machine = self._started()
        if not self._paused:
            raise Fault("Create snapshot error: Cannot save the microVM state: Operation not allowed: the microVM is not paused")
        began = time.monotonic()
        if self._saved is None:
            self._saved = await machine.save()
        await asyncio.to_thread(snapshot.write_memory, machine.memory, body["mem_file_path"])
        configuration = self._configuration.saved()
        await asyncio.to_thread(
            snapshot.write_state, body["snapshot_path"], self._options.snapshot_version, configuration, self._saved
        )
        self._metrics.took("full_create_snapshot", time.monotonic() - began)

    async def _load_snapshot(self, body: dict[str, Any]) -> None:
        if self._configuration.touched:
            raise Fault("Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.")
        if ("mem_backend" in body) == ("mem_file_path" in body):
            raise Fault("Load snapshot error: Specify either `mem_backend` or `mem_file_path` at a time, and one of them.")
        self._options.crash("load")
        began = time.monotonic()
        try:
            await self._load(body)
        except Fault as fault:
            self.ending = 1
            self._log.write(fault.message, level="error")
            raise
        self._metrics.took("load_snapshot", time.monotonic() - began)

    async def _load(self, body: dict[str, Any]) -> None:
        backend = body.get("mem_backend", {"backend_type": "File", "backend_path": body.get("mem_file_path")})
        if backend["backend_type"] != "File":
            raise Fault("Load snapshot error: this peer loads memory from files only")
        saved, devices = snapshot.read_state(body["snapshot_path"], self._options.snapshot_version)
        configuration = restored(saved, lambda found: _override(found, body))
        if configuration.vsock is not None:
            check_free(configuration.vsock["uds_path"])
        machine = self._new_machine(configuration)
        try:
            await asyncio.to_thread(snapshot.read_memory, machine.memory, backend["backend_path"])
            await machine.start(state=devices)
        except Fault:
            await machine.close()
            raise
        self._configuration = configuration
        self._paused = True
        await self._begin_restored(machine, configuration)
        if body.get("resume_vm", False):
            await machine.execute("cont")
            self._paused = False
        self._running(machine)

    async def _begin_restored(self, machine: Machine, configuration: Configuration) -> None:
        if configuration.balloon is not None:
            self._balloon = balloon.RunningBalloon(machine, configuration.balloon)
            if configuration.balloon["stats_polling_interval_s"]:
                await self._balloon.set_polling(configuration.balloon["stats_polling_interval_s"])

    async def _count(self, machine: Machine) -> None:
        metrics = self._metrics
        metrics.reached("logger", "missed_log_count", self._log.missed)
        metrics.reached("uart", "write_count", self._console.written)
        metrics.reached("uart", "rate_limiter_dropped_bytes", self._console.dropped)
        try:
            drives = [drive["stats"] for drive in await machine.execute("query-blockstats")]
        except (QmpError, TimeoutError):
            return
        for ours, theirs in {
            "read_bytes": "rd_bytes",
            "write_bytes": "wr_bytes",
            "read_count": "rd_operations",
            "write_count": "wr_operations",
            "flush_count": "flush_operations",
        }.items():
            metrics.reached("block", ours, sum(drive[theirs] for drive in drives))


def _override(configuration: Configuration, body: dict[str, Any]) -> None:
    for override in body.get("network_overrides", ()):
        interface = configuration.interfaces.get(override["iface_id"])
        if interface is None:
            raise Fault("Load snapshot error: Failed to restore from snapshot: unknown Network Device.")
        interface["host_dev_name"] = override["host_dev_name"]
    if "vsock_override" in body:
        if configuration.vsock is None:
            raise Fault("Load snapshot error: Failed to restore from snapshot: unknown Vsock Device.")
        configuration.vsock["uds_path"] = body["vsock_override"]["uds_path"]
