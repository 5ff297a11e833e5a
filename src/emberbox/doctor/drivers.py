"""Which driver is used and why, and what each of them lacks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.doctor import machines, probes
from emberbox.doctor.finding import Finding, Level
from emberbox.errors import EmberboxError, RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emberbox.config import Settings, VmmSettings
    from emberbox.vmm.base import DriverReport

_PROBE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What choosing a driver came to.

    Args:
        name: The driver's.
        title: Its name for people.
        wanted: `vmm.driver`.
        report: Its report, whose reason also tells why no better one.
        found: What probing it found, without that.
    """

    name: str
    title: str
    wanted: str
    report: DriverReport
    found: DriverReport


def check_driver(choice: Choice, better: str | None) -> Finding:
    """Judge the choice of the driver.

    Args:
        choice: The choice.
        better: The command that brings a better driver, where it would help; None where there is none.
    """
    key, title = "driver", "Driver"
    if not choice.report.usable:
        return Finding(
            key=key, title=title, level=Level.MISSING, found=choice.report.reason, follows="No VM can be started.",
            mend=choice.report.mend,
        )  # fmt: skip
    how = "the best that works here" if choice.wanted == "auto" else "as set by vmm.driver"
    beyond = choice.report.reason.removeprefix(f"{choice.title}: {choice.found.reason}") if choice.wanted == "auto" else ""
    found = f"{choice.title}, {how}{beyond}"
    if choice.wanted == "auto" and better is not None and choice.found.accelerator == "kvm":
        follows = "Firecracker starts VMs faster and shuts them in more tightly. To stay with this: EMBERBOX_VMM_DRIVER=qemu"
        return Finding(key=key, title=title, level=Level.WARNING, found=found, follows=follows, mend=better)
    return Finding(key=key, title=title, level=Level.OK, found=found)


def check_firecracker(report: DriverReport, lacks: Sequence[str], *, used: bool) -> Finding:
    """Say what Firecracker lacks; whether that matters is for `check_driver` to judge.

    Args:
        report: What probing it found.
        lacks: What else is known to be missing, each for people.
        used: Whether it is the driver that is used.
    """
    key, title = "firecracker", "Firecracker"
    if report.usable:
        found = report.version or "usable"
        return Finding(key=key, title=title, level=Level.OK, found=found if used else f"not used: {found}")
    found = "; ".join(dict.fromkeys(lacks)) or report.reason
    return Finding(key=key, title=title, level=Level.OK, found=f"not used: {found}")


async def look_at_drivers(settings: Settings) -> list[Finding]:
    """Choose the driver as an engine would, and look at what each has and lacks. Bounded to a minute."""
    from emberbox.vmm.registry import report_of

    try:
        async with asyncio.timeout(_PROBE_S):
            choice = await _choice(settings)
            firecracker = await report_of("firecracker", settings.vmm, settings.data)
            lacks = await _firecracker_lacks(settings.vmm, settings.data)
    except TimeoutError:
        return [_unprobed(f"probing took longer than {_PROBE_S:g} s"), *await asyncio.to_thread(_programs, True)]
    except (EmberboxError, OSError) as error:
        return [_unprobed(str(error).partition("\n")[0]), *await asyncio.to_thread(_programs, True)]
    used = choice.report.usable and choice.name == "firecracker"
    findings = [check_driver(choice, None if used else firecracker.mend)]
    if choice.report.usable:
        findings.append(machines.check_acceleration(choice.found))
    qemu_needed = not choice.report.usable or choice.name == "qemu"
    return [*findings, check_firecracker(firecracker, lacks, used=used), *await asyncio.to_thread(_programs, qemu_needed)]


async def _choice(settings: Settings) -> Choice:
    from emberbox.vmm.registry import choose_driver, title

    driver, report = await choose_driver(settings.vmm, settings.data)
    # A driver keeps what it found, so that asking again costs nothing.
    found = await driver.probe() if report.usable else report
    return Choice(name=driver.name, title=title(driver.name), wanted=settings.vmm.driver, report=report, found=found)


async def _firecracker_lacks(settings: VmmSettings, data: Path) -> list[str]:
    """Return all that is missing at once, where a probe would stop at the first."""
    from emberbox.vmm.acceleration import probe_acceleration
    from emberbox.vmm.registry import absence

    absent = absence("firecracker", settings, data)
    lacks = [absent.reason if absent is not None else _binaries_problem(settings, data)]
    if os.geteuid() != 0:
        lacks.append("its jailer needs root")
    if settings.accelerator == "auto":
        probed = await probe_acceleration(data / "vmm/acceleration.json")
        if probed.name != "kvm":
            lacks.append(f"it needs KVM, and {probed.reason.removeprefix('software emulation: ')}")
    return [text for text in lacks if text is not None]


def _binaries_problem(settings: VmmSettings, data: Path) -> str | None:
    from pathlib import Path

    from emberbox.vmm.firecracker.host import find_binaries

    given = [Path(path) if path else None for path in (settings.firecracker, settings.jailer)]
    try:
        find_binaries(data / "vmm", *given)
    except RequirementMissing as error:
        return error.message.partition("\n")[0]
    return None


def _unprobed(problem: str) -> Finding:
    return Finding(key="driver", title="Driver", level=Level.MISSING, found=problem, follows="No VM can be started.")


def _programs(qemu_needed: bool) -> list[Finding]:
    machine = os.uname().machine
    qemu, bubblewrap = probes.find(machines.qemu_program(machine)), probes.find("bwrap")
    return [
        machines.check_qemu(machine, qemu, probes.version_of(qemu), needed=qemu_needed),
        machines.check_bubblewrap(bubblewrap, probes.version_of(bubblewrap)),
    ]
