"""`emberbox doctor --production`: what a host should be like before strangers' programs run on it.

Follows Firecracker's docs/prod-host-setup.md, row by row, and adds what the host's kernel should
keep from its users.
"""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emberbox.doctor.checks.drivers import look_at_drivers
from emberbox.doctor.checks.guests import look_at_kernel
from emberbox.doctor.checks.processors import check_processor
from emberbox.doctor.checks.virtualization import check_kvm, check_virtualization
from emberbox.doctor.finding import Finding, Level
from emberbox.doctor.hostfiles import HostFiles
from emberbox.doctor.probes import every_user_makes_namespaces, is_root
from emberbox.doctor.production.jails import check_jails
from emberbox.doctor.production.kernel import check_kernel
from emberbox.doctor.production.memory import check_memory
from emberbox.doctor.production.sysctls import check_settings
from emberbox.doctor.trials.group import try_group

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.doctor.checks.drivers import Drivers
    from emberbox.vmm.base import DriverReport
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.kvm.acceleration import Acceleration

_PROBE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was tried on the host, where its files alone prove nothing.

    Args:
        drivers: Which driver is used, and what became of a VM of it.
        group: Why no process can be bounded by a control group; None when one was.
        namespaces: Whether one without rights made user namespaces; None where that could not be tried.
    """

    drivers: Drivers
    group: str | None
    namespaces: bool | None


async def try_host(settings: Settings) -> Tried:
    """Try all of it, as `diagnose` does."""
    drivers, group, namespaces = await asyncio.gather(
        look_at_drivers(settings), try_group(), asyncio.to_thread(every_user_makes_namespaces)
    )
    return Tried(drivers=drivers, group=group, namespaces=namespaces)


async def inspect_host(
    settings: Settings, files: HostFiles | None = None, tried: Tried | None = None
) -> list[Finding]:
    """Look at everything that a production host should have, in an order for people.

    Takes a second or two; safe to repeat.

    Args:
        settings: Where the data lies, VMMs' first uid, and their bounds.
        files: The host's files; None for this host's.
        tried: What was tried on it; None to try it on this host.
    """
    from emberbox.doctor.checks.drivers import probe

    host = HostFiles() if files is None else files
    kernel, _ = await look_at_kernel(settings)
    kvm, report = await asyncio.gather(
        probe(settings.vmm, settings.data, kernel), _firecracker(settings, kernel)
    )
    # After what answers from a cache or by looking at files: the trial asks the same.
    outcome = await try_host(settings) if tried is None else tried
    return await asyncio.to_thread(_judged, settings, host, kvm, report, outcome)


def _judged(
    settings: Settings, host: HostFiles, kvm: Acceleration, report: DriverReport, tried: Tried
) -> list[Finding]:
    today = datetime.datetime.now(datetime.UTC).date()
    walls = None if tried.drivers.trial is None else tried.drivers.trial.walls
    return [
        check_kvm(kvm),
        *(_bounded(finding, tried) for finding in check_virtualization(host)),
        *check_jails(host, settings.vmm, report, tried.drivers, kvm=kvm.name == "kvm", as_root=is_root()),
        *check_memory(host),
        *check_kernel(host, today),
        *check_settings(host, as_root=is_root(), walls=walls, made=tried.namespaces),
        *check_processor(host),
    ]


def _bounded(finding: Finding, tried: Tried) -> Finding:
    """Say of control groups, which the host's files show, whether one did bound a process."""
    if finding.key != "cgroup_version" or tried.group is None:
        return finding
    follows = "A VMM that a guest has taken over may use up the host's memory, processes and processors."
    found = f"{finding.found}, but {tried.group}"
    return replace(finding, level=Level.WARNING, found=found, follows=finding.follows or follows)


async def _firecracker(settings: Settings, kernel: GuestKernel) -> DriverReport:
    from emberbox.vmm.base import DriverReport
    from emberbox.vmm.registry import report_of

    try:
        async with asyncio.timeout(_PROBE_S):
            return await report_of("firecracker", settings.vmm, settings.data, kernel)
    except TimeoutError:
        reason = f"probing it took longer than {_PROBE_S:g} s"
        return DriverReport(usable=False, reason=reason)
