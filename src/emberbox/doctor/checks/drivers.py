"""Which driver is used and why, and what each of them lacks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.doctor import probes
from emberbox.doctor.checks import machines
from emberbox.doctor.checks.guests import look_at_kernel
from emberbox.doctor.checks.virtualization import check_kvm_kind
from emberbox.doctor.finding import Finding, Row, problem_of
from emberbox.doctor.trials.machine import try_machine
from emberbox.errors import EmberboxError
from emberbox.images.tools.requirements import which
from emberbox.vmm.kvm.acceleration import find_acceleration
from emberbox.vmm.kvm.kinds import look_at_kvm
from emberbox.vmm.registry import choose_driver, folder_of, kind_of, kinds, lacks, report_of, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emberbox.config import Settings, VmmSettings
    from emberbox.doctor.trials.machine import MachineTrial
    from emberbox.vmm.base import Driver, DriverReport
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.kvm.acceleration import Acceleration

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """A driver that goes before the chosen one, and could be had.

    Args:
        title: Its name for people.
        merit: What it does better, as the rest of a sentence.
        mend: The command that brings it.
    """

    title: str
    merit: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What looking at the drivers found.

    Args:
        findings: Its rows.
        trial: What became of a VM of the one that is used; None where none can be used.
        name: The name of the one that is used, or would be.
        version: Its version, by which its templates are known; None where it cannot be used.
    """

    findings: list[Finding]
    trial: MachineTrial | None = None
    name: str | None = None
    version: str | None = None


def check_driver(choice: Choice, better: Better | None, trial: MachineTrial | None) -> Finding:
    """Judge the choice of the driver.

    Args:
        choice: The choice.
        better: A better driver, where it would help; None where there is none.
        trial: What became of a VM that it started; None where it cannot be used.
    """
    row = Row("driver", "Driver")
    if not choice.report.usable or trial is None:
        return row.missing(choice.report.reason, "No VM can be started.", choice.report.mend)
    if trial.problem is not None:
        return row.missing(f"{choice.title} was tried: {trial.problem}", "No VM can be started.", trial.mend)
    ran = f"a guest ran {trial.ran_ms or 0:,.0f} ms after its start"
    if choice.wanted != "auto":
        return row.ok(f"{choice.title}, as set by vmm.driver: {ran}")
    beyond = choice.report.reason.removeprefix(f"{choice.title}: {choice.found.reason}")
    found = f"{choice.title}, the best that works here: {ran}{beyond}"
    if better is not None and choice.found.accelerator == "kvm":
        follows = f"{better.title} {better.merit}. To stay with this: EMBERBOX_VMM_DRIVER={choice.name}"
        return row.warning(found, follows, better.mend)
    return row.ok(found)


def check_probed(name: str, title: str, report: DriverReport, lacks: Sequence[str], *, used: bool) -> Finding:
    """Say what a driver lacks that no package brings.

    Whether that matters is for `check_driver` to judge.

    Args:
        name: The driver.
        title: Its name for people.
        report: What probing it found.
        lacks: What else is known to be missing, each for people.
        used: Whether it is the driver that is used.
    """
    found = "; ".join(dict.fromkeys(lacks)) or report.reason
    if report.usable:
        found = report.version or "usable"
    return Row(name, title).ok(found if report.usable and used else f"not used: {found}")


async def look_at_drivers(settings: Settings) -> Drivers:
    """Choose the driver as an engine would, start a VM with it, and look at what each has and lacks.

    Bounded to a minute.
    """
    try:
        async with asyncio.timeout(_PROBE_S):
            kernel, kernel_finding = await look_at_kernel(settings)
            driver, choice = await _choice(settings, kernel)
            probed = await _probed(settings, kernel)
            lacks = {name: await _lacks(name, settings, kernel) for name in probed}
            # What KVM is, where it is set and no driver asks.
            told = settings.vmm.accelerator == "kvm"
            real = await probe(settings.vmm, settings.data, kernel) if told else None
            trial = await try_machine(driver, settings.data) if choice.report.usable else None
    except TimeoutError:
        return await _unprobed(f"probing took longer than {_PROBE_S:g} s")
    except (EmberboxError, OSError) as error:
        return await _unprobed(problem_of(error)[0])
    used = choice.name if choice.report.usable else None
    # Where KVM is set and does not run guests, a driver that needs it would not either.
    helpless = real is not None and real.name != "kvm"
    findings = [check_driver(choice, _better(choice.name, probed, helpless=helpless), trial)]
    if choice.report.usable:
        findings.append(machines.check_acceleration(choice.found, real))
    findings += [check_kvm_kind(look_at_kvm(told=settings.vmm.kvm_kind), kernel), kernel_finding]
    for name, report in probed.items():
        findings.append(check_probed(name, title(name), report, lacks[name], used=name == used))
    findings += await asyncio.to_thread(_programs, used)
    return Drivers(findings=findings, trial=trial, name=choice.name, version=choice.found.version)


async def _probed(settings: Settings, kernel: GuestKernel) -> dict[str, DriverReport]:
    """Probe the drivers that no package brings, by name."""
    machine = os.uname().machine
    names = [name for name, kind in kinds().items() if not kind.packages(machine)]
    return {name: await report_of(name, settings.vmm, settings.data, kernel) for name in names}


def _better(chosen: str, probed: Mapping[str, DriverReport], *, helpless: bool) -> Better | None:
    """Return the best driver that a command brings before the chosen one.

    Args:
        chosen: The chosen one's name.
        probed: What probing found, by driver.
        helpless: Whether those that need KVM are passed over.
    """
    for name, kind in kinds().items():
        if name == chosen:
            break
        mend = probed[name].mend if name in probed else None
        if mend is not None and kind.merit is not None and not (helpless and kind.needs_kvm):
            return Better(title=kind.title, merit=kind.merit, mend=mend)
    return None


async def probe(settings: VmmSettings, data: Path, kernel: GuestKernel) -> Acceleration:
    """Find out what guests with this kernel run on, as a driver does that is not told."""
    return await find_acceleration(
        folder_of(data), None, kernel=kernel, kvm=look_at_kvm(told=settings.kvm_kind)
    )


async def _choice(settings: Settings, kernel: GuestKernel) -> tuple[Driver, Choice]:
    driver, report = await choose_driver(settings.vmm, settings.data, kernel)
    # A driver keeps what it found, so that asking again costs nothing.
    found = await driver.probe() if report.usable else report
    return driver, Choice(
        name=driver.name, title=title(driver.name), wanted=settings.vmm.driver, report=report, found=found
    )


async def _lacks(name: str, settings: Settings, kernel: GuestKernel) -> list[str]:
    """Return all that is missing at once, where a probe would stop at the first."""
    found = lacks(name, settings.vmm, settings.data, kernel)
    if kind_of(name).needs_kvm and settings.vmm.accelerator == "auto":
        acceleration = await probe(settings.vmm, settings.data, kernel)
        if acceleration.name != "kvm":
            found.append(f"it needs KVM, and {acceleration.reason.removeprefix('software emulation: ')}")
    return found


async def _unprobed(problem: str) -> Drivers:
    unknown = Row("driver", "Driver").missing(problem, "No VM can be started.")
    return Drivers(findings=[unknown, *await asyncio.to_thread(_programs, None)])


def _programs(used: str | None) -> list[Finding]:
    """Look at what packages bring; `used` is the driver that is used, None for none."""
    machine = os.uname().machine
    findings = []
    for name, kind in kinds().items():
        for program, package in kind.packages(machine).items():
            path = which(program)
            version, needed = probes.version_of(path), used in (None, name)
            judged = machines.check_program(name, kind.title, program, package, path, version, needed=needed)
            findings.append(judged)
    bubblewrap = which("bwrap")
    return [*findings, machines.check_bubblewrap(bubblewrap, probes.version_of(bubblewrap))]
