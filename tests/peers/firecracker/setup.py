"""The actions that describe a machine before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.configuration import Configuration
from tests.peers.firecracker.faults import Fault, spoken
from tests.peers.firecracker.mmds import Mmds
from tests.peers.firecracker.output import Console

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.firecracker.metrics import Metrics
    from tests.peers.firecracker.options import Options
    from tests.peers.firecracker.output import Log


_UNPLUGGED = "PCI is not enabled"
"""What is said of devices that are to be added to a machine that runs: only on PCI can that be done."""


class Setup:
    """Each method is an action: it gets the body, returns the answer (or None), and raises `Fault`."""

    def __init__(self, options: Options, log: Log, metrics: Metrics, started: Callable[[], bool]) -> None:
        self._options = options
        self._log = log
        self._metrics = metrics
        self._started = started
        self._mmds = Mmds()
        self._console_path: str | None = None
        self.configuration = Configuration()
        self.console = Console()

    async def put_boot_source(self, body: dict[str, Any]) -> None:
        """PUT /boot-source."""
        self.configuration.put_boot_source(body)

    async def put_cpu_config(self, body: dict[str, Any]) -> None:
        """PUT /cpu-config: kept, and not applied."""
        self.configuration.cpu_config = body
        self.configuration.touched = True

    async def put_drive(self, body: dict[str, Any]) -> None:
        """PUT /drives/ID."""
        if self._started():
            raise Fault(_UNPLUGGED)
        self.configuration.put_drive(body)

    async def put_pmem(self, body: dict[str, Any]) -> None:
        """PUT /pmem/ID: kept, and refused at the start."""
        self.configuration.pmem[body["id"]] = body
        self.configuration.touched = True

    async def put_entropy(self, body: dict[str, Any]) -> None:
        """PUT /entropy."""
        self.configuration.entropy = body
        self.configuration.touched = True

    async def put_vsock(self, body: dict[str, Any]) -> None:
        """PUT /vsock."""
        self.configuration.put_vsock(body)

    async def put_balloon(self, body: dict[str, Any]) -> None:
        """PUT /balloon."""
        self.configuration.put_balloon(body)

    async def get_balloon(self, _: None) -> dict[str, Any]:
        """GET /balloon, also after the start."""
        self._metrics.add("get_api_requests", "balloon_count")
        if self.configuration.balloon is None:
            raise Fault("Balloon config error: No balloon device found.")
        return self.configuration.balloon

    async def put_network_interface(self, body: dict[str, Any]) -> None:
        """PUT /network-interfaces/ID."""
        if self._started():
            raise Fault(_UNPLUGGED)
        self.configuration.put_interface(body)

    async def put_memory_hotplug(self, body: dict[str, Any]) -> None:
        """PUT /hotplug/memory."""
        self.configuration.put_memory_hotplug(body)

    async def put_machine_config(self, body: dict[str, Any]) -> None:
        """PUT /machine-config."""
        self.configuration.put_machine(body)

    async def patch_machine_config(self, body: dict[str, Any]) -> None:
        """PATCH /machine-config."""
        if not body:
            raise Fault("Empty PATCH request.")
        self.configuration.patch_machine(body)

    async def get_machine_config(self, _: None) -> dict[str, Any]:
        """GET /machine-config, also after the start."""
        self._metrics.add("get_api_requests", "machine_cfg_count")
        return self.configuration.described_machine()

    async def get_vm_config(self, _: None) -> dict[str, Any]:
        """GET /vm/config, also after the start."""
        return self.configuration.described()

    async def put_logger(self, body: dict[str, Any]) -> None:
        """PUT /logger. Not part of the machine: a snapshot can still be loaded."""
        try:
            self._log.configure(
                path=body.get("log_path"), level=body.get("level"), show_level=body.get("show_level")
            )
        except OSError as error:
            raise Fault(f"Logger error: Failed to open target file: {spoken(error)}") from error
        self._log.write(f"Running Firecracker v{self._options.version}")

    async def put_metrics(self, body: dict[str, Any]) -> None:
        """PUT /metrics. Not part of the machine: a snapshot can still be loaded."""
        prefix = "Metrics error: Cannot initialize the metrics system due to bad user input:"
        if self._metrics.configured:
            raise Fault(f"{prefix} Reinitialization of metrics not allowed.")
        try:
            self._metrics.configure(
                body["metrics_path"], emit_id=body.get("emit_id", False), properties=body.get("properties")
            )
        except OSError as error:
            raise Fault(f"{prefix} {spoken(error)}") from error

    async def put_serial(self, body: dict[str, Any]) -> None:
        """PUT /serial; the file is opened at the start, and the rate limiter is checked, and not applied."""
        self._console_path = body.get("serial_out_path")
        self.configuration.touched = True

    def open_console(self) -> None:
        """Open the file that the serial console goes to, if one was asked for. Raises `Fault`."""
        try:
            if self._console_path is not None:
                self.console.redirect(self._console_path)
        except OSError as error:
            raise Fault(
                f"Start microvm error: Cannot open the serial console's file: {spoken(error)}"
            ) from error

    async def put_mmds(self, body: dict[str, Any]) -> None:
        """PUT /mmds, also after the start."""
        self._mmds.put(body)

    async def patch_mmds(self, body: dict[str, Any]) -> None:
        """PATCH /mmds, also after the start."""
        self._mmds.patch(body)

    async def get_mmds(self, _: None) -> dict[str, Any]:
        """GET /mmds, also after the start."""
        return self._mmds.get()

    async def put_mmds_config(self, body: dict[str, Any]) -> None:
        """PUT /mmds/config."""
        self.configuration.put_mmds_config(body)
