"""`emberbox doctor --production`: what a host should be like before strangers' programs run on it.

Follows Firecracker's docs/prod-host-setup.md, row by row, and adds what the host's kernel should keep from its users.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING

from emberbox.doctor.hostfiles import HostFiles
from emberbox.doctor.jails import check_jails
from emberbox.doctor.kernel import check_kernel
from emberbox.doctor.memory import check_memory
from emberbox.doctor.probes import is_root
from emberbox.doctor.processors import check_processor
from emberbox.doctor.sysctls import check_settings
from emberbox.doctor.virtualization import check_kvm, check_virtualization

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.doctor.finding import Finding
    from emberbox.vmm.base import DriverReport

_PROBE_S = 30.0


async def inspect_host(settings: Settings, files: HostFiles | None = None) -> list[Finding]:
    """Look at everything that a production host should have, in an order for people. Takes a second or two; safe to repeat.

    Args:
        settings: Where the data lies, VMMs' first uid, and their bounds.
        files: The host's files; None for this host's.
    """
    from emberbox.vmm.acceleration import probe_acceleration

    host = HostFiles() if files is None else files
    kvm, report = await asyncio.gather(probe_acceleration(_cache(settings)), _firecracker(settings))
    today = datetime.datetime.now(datetime.UTC).date()
    return [
        check_kvm(kvm),
        *await asyncio.to_thread(check_virtualization, host),
        *await asyncio.to_thread(check_jails, host, settings.vmm, report, kvm=kvm.name == "kvm"),
        *await asyncio.to_thread(check_memory, host),
        *await asyncio.to_thread(check_kernel, host, today),
        *await asyncio.to_thread(check_settings, host, as_root=is_root()),
        *await asyncio.to_thread(check_processor, host),
    ]


def _cache(settings: Settings) -> Path:
    return settings.data / "vmm/acceleration.json"


async def _firecracker(settings: Settings) -> DriverReport:
    from emberbox.vmm.base import DriverReport
    from emberbox.vmm.registry import report_of

    try:
        async with asyncio.timeout(_PROBE_S):
            return await report_of("firecracker", settings.vmm, settings.data)
    except TimeoutError:
        reason = f"probing it took longer than {_PROBE_S:g} s"
        return DriverReport(usable=False, accelerator=None, version=None, reason=reason)
