"""The drives of a started QEMU: another file for one, its rates, and what all have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.firecracker.hardware import drive_index
from tests.peers.firecracker.qmp import QmpError

if TYPE_CHECKING:
    from tests.peers.firecracker.configuration import Configuration
    from tests.peers.firecracker.process import QemuProcess

_COUNTERS = {
    "read_bytes": "rd_bytes",
    "write_bytes": "wr_bytes",
    "read_count": "rd_operations",
    "write_count": "wr_operations",
    "flush_count": "flush_operations",
}


class Disks:
    """Changes drives as the configuration says they are."""

    def __init__(self, process: QemuProcess, configuration: Configuration) -> None:
        self._process = process
        self._configuration = configuration

    async def replace(self, name: str) -> None:
        """Put the file that the configuration has opened for this drive in place of the old one.

        Raises `QmpError`.
        """
        index = drive_index(self._configuration, name)
        read_only = self._configuration.drives[name]["is_read_only"]
        added = await self._process.execute("add-fd", fd=self._configuration.descriptors[f"drive:{name}"])
        number = added["fdset-id"]
        node = f"file{index}s{number}"
        file = {"driver": "file", "node-name": node, "filename": f"/dev/fdset/{number}", "locking": "off"}
        await self._process.execute("blockdev-add", {**file, "read-only": read_only})
        options = {"driver": "raw", "node-name": f"drive{index}", "file": node, "read-only": read_only}
        await self._process.execute("blockdev-reopen", {"options": [options]})

    async def limit_all(self) -> None:
        """Apply the rate limiters of all drives that have one. Raises `QmpError`."""
        for name, drive in self._configuration.drives.items():
            if "rate_limiter" in drive:
                await self.limit(name)

    async def limit(self, name: str) -> None:
        """Apply the rate limiter of this drive. Raises `QmpError`."""
        limiter = self._configuration.drives[name].get("rate_limiter", {})
        values = {"bps": _per_second(limiter.get("bandwidth")), "iops": _per_second(limiter.get("ops"))}
        values |= dict.fromkeys(("bps_rd", "bps_wr", "iops_rd", "iops_wr"), 0)
        device = f"disk{drive_index(self._configuration, name)}"
        await self._process.execute("block_set_io_throttle", {"id": device, **values})

    async def counters(self) -> dict[str, int]:
        """Return what all drives together have done since the start; empty when QEMU does not tell."""
        try:
            drives = [drive["stats"] for drive in await self._process.execute("query-blockstats")]
        except (QmpError, TimeoutError):
            return {}
        return {ours: sum(drive[theirs] for drive in drives) for ours, theirs in _COUNTERS.items()}


def _per_second(bucket: dict[str, int] | None) -> int:
    if bucket is None or not bucket["size"] or not bucket["refill_time"]:
        return 0
    return max(1, bucket["size"] * 1000 // bucket["refill_time"])
