"""The routes of the API: what each one takes, when it is allowed, and which action it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.peers.firecracker import schema
from tests.peers.firecracker.faults import Fault

_IDENTIFIER = re.compile(r"[A-Za-z0-9_]+")


class When(Enum):
    """When a route is allowed."""

    ALWAYS = "always"
    BEFORE = "before the start"
    AFTER = "after the start"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Args:
        method: Of HTTP.
        path: With at most one `{parameter}`, which the body repeats.
        action: Name of the controller's method.
        when: When it is allowed.
        definition: What the body is; None for no body.
        partial: Whether the body may leave out what is required.
        optional: Whether the body may be missing.
    """

    method: str
    path: str
    action: str
    when: When
    definition: str | None = None
    partial: bool = False
    optional: bool = False

    def match(self, path: str) -> str | None:
        """Return the parameter in `path` (empty when there is none); None when it is another path."""
        head, brace, _ = self.path.partition("{")
        if not brace:
            return "" if path == self.path else None
        rest = path.removeprefix(head)
        return rest if path.startswith(head) and rest and "/" not in rest else None

    @property
    def parameter(self) -> str | None:
        """Name of the parameter."""
        _, brace, rest = self.path.partition("{")
        return rest.rstrip("}") if brace else None


FREE_FORM = "MmdsContentsObject"
"""The definition of a body that may be any object."""

ROUTES = (
    Route("GET", "/", "describe_instance", When.ALWAYS),
    Route("PUT", "/actions", "act", When.ALWAYS, "InstanceActionInfo"),
    Route("GET", "/balloon", "get_balloon", When.ALWAYS),
    Route("PUT", "/balloon", "put_balloon", When.BEFORE, "Balloon"),
    Route("PATCH", "/balloon", "patch_balloon", When.AFTER, "BalloonUpdate"),
    Route("GET", "/balloon/statistics", "get_balloon_statistics", When.AFTER),
    Route("PATCH", "/balloon/statistics", "patch_balloon_statistics", When.AFTER, "BalloonStatsUpdate"),
    Route("PATCH", "/balloon/hinting/start", "start_hinting", When.AFTER, "BalloonStartCmd", optional=True),
    Route("GET", "/balloon/hinting/status", "get_hinting", When.AFTER),
    Route("PATCH", "/balloon/hinting/stop", "stop_hinting", When.AFTER),
    Route("PUT", "/boot-source", "put_boot_source", When.BEFORE, "BootSource"),
    Route("PUT", "/cpu-config", "put_cpu_config", When.BEFORE, "CpuConfig"),
    Route("PUT", "/drives/{drive_id}", "put_drive", When.ALWAYS, "Drive"),
    Route("DELETE", "/drives/{drive_id}", "delete_drive", When.AFTER),
    Route("PATCH", "/drives/{drive_id}", "patch_drive", When.AFTER, "PartialDrive"),
    Route("PUT", "/pmem/{id}", "put_pmem", When.BEFORE, "Pmem"),
    Route("PATCH", "/pmem/{id}", "patch_pmem", When.AFTER, "PartialPmem"),
    Route("PUT", "/logger", "put_logger", When.BEFORE, "Logger"),
    Route("GET", "/machine-config", "get_machine_config", When.ALWAYS),
    Route("PUT", "/machine-config", "put_machine_config", When.BEFORE, "MachineConfiguration"),
    Route(
        "PATCH", "/machine-config", "patch_machine_config", When.BEFORE, "MachineConfiguration", partial=True
    ),
    Route("PUT", "/metrics", "put_metrics", When.BEFORE, "Metrics"),
    Route("PUT", "/mmds", "put_mmds", When.ALWAYS, FREE_FORM),
    Route("PATCH", "/mmds", "patch_mmds", When.ALWAYS, FREE_FORM),
    Route("GET", "/mmds", "get_mmds", When.ALWAYS),
    Route("PUT", "/mmds/config", "put_mmds_config", When.BEFORE, "MmdsConfig"),
    Route("PUT", "/entropy", "put_entropy", When.BEFORE, "EntropyDevice"),
    Route("PUT", "/serial", "put_serial", When.BEFORE, "SerialDevice"),
    Route("PUT", "/hotplug/memory", "put_memory_hotplug", When.BEFORE, "MemoryHotplugConfig"),
    Route("PATCH", "/hotplug/memory", "patch_memory_hotplug", When.AFTER, "MemoryHotplugSizeUpdate"),
    Route("GET", "/hotplug/memory", "get_memory_hotplug", When.AFTER),
    Route("PUT", "/network-interfaces/{iface_id}", "put_network_interface", When.ALWAYS, "NetworkInterface"),
    Route(
        "PATCH",
        "/network-interfaces/{iface_id}",
        "patch_network_interface",
        When.AFTER,
        "PartialNetworkInterface",
    ),
    Route("PUT", "/snapshot/create", "create_snapshot", When.AFTER, "SnapshotCreateParams"),
    Route("PUT", "/snapshot/load", "load_snapshot", When.BEFORE, "SnapshotLoadParams"),
    Route("GET", "/version", "get_version", When.ALWAYS),
    Route("PATCH", "/vm", "patch_vm", When.AFTER, "Vm"),
    Route("GET", "/vm/config", "get_vm_config", When.ALWAYS),
    Route("PUT", "/vsock", "put_vsock", When.BEFORE, "Vsock"),
)

MEASURED = frozenset({("DELETE", "/drives/{drive_id}")})
"""What a real 1.17 answers to, and its description does not have."""


def find(method: str, path: str) -> tuple[Route, str]:
    """Return the route for a request and its parameter. Raises `Fault`."""
    for route in ROUTES:
        parameter = route.match(path) if route.method == method else None
        if parameter is not None:
            if parameter and not _IDENTIFIER.fullmatch(parameter):
                raise Fault("API Resource IDs can only contain alphanumeric characters and underscores.")
            return route, parameter
    raise Fault(
        f"Invalid request method and/or path: {method} {path.split('/')[1] if '/' in path else path}."
    )


def checked(
    route: Route, parameter: str, body: Any, unknown: frozenset[str], *, sent: bool | None = None
) -> dict[str, Any] | None:
    """Return the body that the route's action gets. Raises `Fault` for one that does not fit.

    Args:
        route: What was asked.
        parameter: From the path.
        body: What the JSON said.
        unknown: Fields that this release does not know.
        sent: Whether a body came at all; None where it did unless it is None.
    """
    sent = body is not None if sent is None else sent
    if not sent or route.definition is None:
        return _absent(route, sent=sent)
    if route.definition == FREE_FORM:
        if not isinstance(body, dict):
            raise Fault("The MMDS data store holds JSON objects only.")
        return body
    fields = schema.check(route.definition, body, unknown=unknown, partial=route.partial)
    if route.parameter is not None and fields[route.parameter] != parameter:
        raise Fault("The id from the path does not match the id from the body!")
    return fields


def _absent(route: Route, *, sent: bool) -> dict[str, Any] | None:
    if sent:
        raise Fault(f"{route.method} request cannot have a body.")
    if route.definition is not None and not route.optional:
        raise Fault(f"Empty {route.method} request.")
    return {} if route.optional else None
