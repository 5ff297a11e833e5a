"""The balloon of a started machine: QEMU's own for its size and statistics, a model for free page hinting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.faults import Fault
from tests.peers.firecracker.qmp import QmpError

if TYPE_CHECKING:
    from tests.peers.firecracker.machine import Machine

_UPDATE = "Balloon update error: Balloon:"
_MIB = 1 << 20
_PAGE = 4096
_PATH = "/machine/peripheral/balloon0"
_UNKNOWN = 2**64 - 1
_STATISTICS = {
    "stat-swap-in": "swap_in",
    "stat-swap-out": "swap_out",
    "stat-major-faults": "major_faults",
    "stat-minor-faults": "minor_faults",
    "stat-free-memory": "free_memory",
    "stat-total-memory": "total_memory",
    "stat-available-memory": "available_memory",
    "stat-disk-caches": "disk_caches",
    "stat-htlb-pgalloc": "hugetlb_allocations",
    "stat-htlb-pgfail": "hugetlb_failures",
}
_HINTING_STOPPED, _HINTING_DONE = 0, 1
_FIRST_COMMAND = 2


class RunningBalloon:
    """A started balloon.

    Args:
        machine: The machine that has it.
        settings: As in the configuration; changed here as it is changed.
    """

    def __init__(self, machine: Machine, settings: dict[str, Any]) -> None:
        self._machine = machine
        self._settings = settings
        self._command = _HINTING_STOPPED

    async def begin(self) -> None:
        """Set size and polling as configured. Raises `Fault`."""
        await self._resize(self._settings["amount_mib"])
        if self._settings["stats_polling_interval_s"]:
            await self._poll(self._settings["stats_polling_interval_s"])

    async def change(self, amount_mib: int) -> None:
        """Set another target. Raises `Fault`, also as long as the guest does not use the device."""
        if not await self._machine.driven("balloon0"):
            raise Fault(f"{_UPDATE} Device not activated yet.")
        await self._resize(amount_mib)

    async def _resize(self, amount_mib: int) -> None:
        memory = await self._memory()
        if amount_mib * _MIB > memory:
            raise Fault(f"{_UPDATE} Amount of pages requested is too large.")
        await self._execute("balloon", {"value": max(memory - amount_mib * _MIB, _MIB)})
        self._settings["amount_mib"] = amount_mib

    async def statistics(self) -> dict[str, int]:
        """Return what the guest told last. Raises `Fault` when they were not enabled."""
        if not self._settings["stats_polling_interval_s"]:
            raise Fault("Balloon stats error: Balloon: Statistics for the balloon device are not enabled")
        told = await self._execute("qom-get", {"path": _PATH, "property": "guest-stats"})
        actual = await self._memory() - (await self._execute("query-balloon"))["actual"]
        target = self._settings["amount_mib"] * _MIB
        found = {"target_pages": target // _PAGE, "actual_pages": actual // _PAGE}
        found |= {"target_mib": target // _MIB, "actual_mib": actual // _MIB}
        values = told.get("stats", {})
        named = {ours: values.get(theirs, _UNKNOWN) for theirs, ours in _STATISTICS.items()}
        return found | {name: value for name, value in named.items() if 0 <= value < _UNKNOWN}

    async def set_polling(self, interval_s: int) -> None:
        """Change how often statistics are asked for. Raises `Fault` when that turns them on or off."""
        if bool(interval_s) != bool(self._settings["stats_polling_interval_s"]):
            raise Fault(f"{_UPDATE} Statistics cannot be enabled/disabled after activation.")
        if interval_s:
            await self._poll(interval_s)
        self._settings["stats_polling_interval_s"] = interval_s

    def start_hinting(self) -> None:
        """Begin a run. Raises `Fault` when hinting was not enabled."""
        self._check_hinting()
        self._command = max(self._command + 1, _FIRST_COMMAND)

    def stop_hinting(self) -> None:
        """End the run. Raises `Fault` when hinting was not enabled."""
        self._check_hinting()
        self._command = _HINTING_DONE

    def hinting(self) -> dict[str, int]:
        """Return the latest commands; the guest of the model follows at once.

        Raises `Fault` when hinting was not enabled.
        """
        self._check_hinting()
        return {"host_cmd": self._command, "guest_cmd": self._command}

    def _check_hinting(self) -> None:
        if not self._settings["free_page_hinting"]:
            raise Fault(f"{_UPDATE} Hinting was not enabled when the device was configured")

    async def _poll(self, interval_s: int) -> None:
        await self._execute(
            "qom-set", {"path": _PATH, "property": "guest-stats-polling-interval", "value": interval_s}
        )

    async def _memory(self) -> int:
        size: int = (await self._execute("query-memory-size-summary"))["base-memory"]
        return size

    async def _execute(self, command: str, values: dict[str, Any] | None = None) -> Any:
        try:
            return await self._machine.execute(command, values)
        except QmpError as error:
            raise Fault(f"{_UPDATE} {error}") from error
