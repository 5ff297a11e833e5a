"""The actions that change the devices of a started machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.balloon import RunningBalloon
from tests.peers.firecracker.faults import Fault

if TYPE_CHECKING:
    from tests.peers.firecracker.configuration import Configuration
    from tests.peers.firecracker.machine import Machine
    from tests.peers.firecracker.metrics import Metrics

_DRIVE = "Drive config error: Unable to patch the block device:"
_VERIFY = "Please verify the request arguments."
_HOTPLUG = "Memory hotplug update error: Failed to create memory hotplug device:"


class Devices:
    """Each method is a route's action: it gets the body, returns the answer, and raises `Fault`."""

    def __init__(self, machine: Machine, configuration: Configuration, metrics: Metrics) -> None:
        self._machine = machine
        self._configuration = configuration
        self._metrics = metrics
        self._plugged_mib = 0
        settings = configuration.balloon
        self._balloon = None if settings is None else RunningBalloon(machine, settings)

    async def begin(self) -> None:
        """Set what QEMU is not told on its command line, and what its snapshots do not hold.

        Raises `Fault`.
        """
        if self._balloon is not None:
            await self._balloon.begin()

    async def patch_balloon(self, body: dict[str, Any]) -> None:
        """PATCH /balloon."""
        await self._present().change(body["amount_mib"])

    async def get_balloon_statistics(self, _: None) -> dict[str, Any]:
        """GET /balloon/statistics."""
        return {**await self._present().statistics()}

    async def patch_balloon_statistics(self, body: dict[str, Any]) -> None:
        """PATCH /balloon/statistics."""
        await self._present().set_polling(body["stats_polling_interval_s"])

    async def start_hinting(self, _: dict[str, Any]) -> None:
        """PATCH /balloon/hinting/start."""
        self._present().start_hinting()

    async def stop_hinting(self, _: None) -> None:
        """PATCH /balloon/hinting/stop."""
        self._present().stop_hinting()

    async def get_hinting(self, _: None) -> dict[str, Any]:
        """GET /balloon/hinting/status."""
        return {**self._present().hinting()}

    async def patch_drive(self, body: dict[str, Any]) -> None:
        """PATCH /drives/ID."""
        name = body["drive_id"]
        drive = self._configuration.drives.get(name)
        if drive is None:
            raise Fault(f"{_DRIVE} Failed perform action on device: Device not found {_VERIFY}")
        if not {"path_on_host", "rate_limiter"} & body.keys():
            raise Fault(f"{_DRIVE} Block: Running method expected different backend. {_VERIFY}")
        if "path_on_host" in body:
            changed = drive | {"path_on_host": body["path_on_host"]}
            self._configuration.open_drive(changed)
            self._configuration.drives[name] = changed
            await self._machine.disks.replace(name)
            self._metrics.add("block", "update_count")
        if "rate_limiter" in body:
            self._configuration.drives[name]["rate_limiter"] = body["rate_limiter"]
            await self._machine.disks.limit(name)

    async def delete_drive(self, _: None) -> None:
        """DELETE /drives/ID: only what is on PCI can be taken out."""
        raise Fault("PCI is not enabled")

    async def patch_pmem(self, body: dict[str, Any]) -> None:
        """PATCH /pmem/ID: there is none."""
        raise Fault(f"Unable to patch the pmem device: {body['id']} not found")

    async def patch_network_interface(self, body: dict[str, Any]) -> None:
        """PATCH /network-interfaces/ID: kept, and not applied."""
        if body["iface_id"] not in self._configuration.interfaces:
            words = "Unable to update the net device: Failed perform action on device: Device not found"
            raise Fault(f"Network config error: {words}")
        self._configuration.interfaces[body["iface_id"]] |= body

    async def patch_memory_hotplug(self, body: dict[str, Any]) -> None:
        """PATCH /hotplug/memory: the model's guest follows at once."""
        device = self._hotplug()
        if not await self._machine.driven():
            raise Fault(f"{_HOTPLUG} Device is not active")
        wanted = body.get("requested_size_mib", 0)
        if wanted > device["total_size_mib"] or wanted % device["block_size_mib"]:
            raise Fault(f"{_HOTPLUG} the requested size is too large or no multiple of the block size")
        self._plugged_mib = wanted

    async def get_memory_hotplug(self, _: None) -> dict[str, Any]:
        """GET /hotplug/memory."""
        return self._hotplug() | {
            "plugged_size_mib": self._plugged_mib,
            "requested_size_mib": self._plugged_mib,
        }

    def _hotplug(self) -> dict[str, Any]:
        if self._configuration.memory_hotplug is None:
            raise Fault("Memory hotplug update error: Device not found")
        return self._configuration.memory_hotplug

    def _present(self) -> RunningBalloon:
        if self._balloon is None:
            raise Fault("Balloon update error: Failed perform action on device: Device not found")
        return self._balloon
