"""Finding out what this host runs virtual machines on, by doing it.

A test runs a few instructions in KVM. Where KVM is PVM, that test alone says nothing: such code is
emulated there, and the kernel of a guest that was built for it is not. What counts then is that the
test ran at all, and the guest's kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.vmm.cpuinfo import first_value
from emberbox.vmm.kvm.kinds import OWN_KERNEL, Kvm, KvmKind, look_at_kvm
from emberbox.vmm.kvm.node import DEVICE, let_in
from emberbox.vmm.remembered import keep, recall, since_boot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.vmm.guest_kernel import GuestKernel

_log = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("probe.py")
_PROBE_S = 3.0
_HARDWARE_US = 20_000.0
"""Hardware needs less than 1,000 µs; a busy host may take us off the CPU for a while; emulation
took 300,000."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What machines run on.

    Args:
        name: `kvm` or `tcg`.
        reason: Why, for people.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of running code in KVM.

    Args:
        told: What happened, for people.
        ran: Whether the code ran to its end, however slowly.
        fast: Whether it ran as fast as hardware does.
    """

    told: str
    ran: bool = False
    fast: bool = False


def cpu_model() -> str:
    """Return the processor's name, which KVM snapshots depend on, or its architecture's."""
    return first_value("model name", "CPU part") or platform.machine()


async def probe_acceleration(
    cache: Path | None = None,
    *,
    kernel: GuestKernel | None = None,
    kvm: Kvm | None = None,
    device: Path = DEVICE,
    command: Sequence[str] | None = None,
    timeout_s: float = _PROBE_S,
) -> Acceleration:
    """Return `kvm` only if the guests' kernel runs at about hardware's speed, else `tcg` with why.

    Never hangs and never raises for what KVM does.

    Args:
        cache: File in which the trial is kept until the host is booted again or the device changes;
            None to probe always.
        kernel: What guests boot; None where that is not known, and so taken to be an ordinary kernel.
        kvm: The host's KVM; None to look.
        device: KVM's device node.
        command: The probe program; None for ours.
        timeout_s: When the probe is given up and killed, in seconds.
    """
    host = look_at_kvm() if kvm is None else kvm
    obstacle = _obstacle(device, host, kernel)
    if obstacle is not None:
        return _emulation(obstacle)
    key = _key(device)
    trial = None if cache is None else _recalled(cache, key)
    if trial is None:
        trial = judge(
            *await _run(command or (sys.executable, "-I", "-S", str(_PROGRAM)), device, timeout_s),
            timeout_s,
        )
        if cache is not None:
            keep(cache, key, asdict(trial))
    found = decide(trial, host, kernel)
    _log.info(
        "acceleration probed: %s", found.reason, extra={"action": "vmm.probe", "accelerator": found.name}
    )
    return found


async def find_acceleration(
    folder: Path, wanted: str | None, *, kernel: GuestKernel | None, kvm: Kvm, device: Path = DEVICE
) -> Acceleration:
    """Return what a driver's machines run on: `wanted`, or what probing finds.

    Args:
        folder: `<data>/vmm`, where the trial is kept.
        wanted: `kvm` or `tcg` to take it for granted; None to probe.
        kernel: As for `probe_acceleration`.
        kvm: The host's KVM.
        device: KVM's device node.

    Raises:
        RequirementMissing: As `insist` does.
    """
    if wanted is not None:
        return insist(wanted, kvm, kernel)
    return await probe_acceleration(folder / "acceleration.json", kernel=kernel, kvm=kvm, device=device)


def decide(trial: Trial, kvm: Kvm, kernel: GuestKernel | None) -> Acceleration:
    """Say what guests with this kernel run on.

    Args:
        trial: What came of running code in KVM.
        kvm: The host's KVM.
        kernel: What guests boot; None where that is not known.
    """
    if not trial.ran:
        return _emulation(trial.told)
    if kvm.kind is KvmKind.PVM:
        refusal = unfit(kvm, kernel)
        if refusal is not None or kernel is None:
            return _emulation(f"{refusal or _PVM_ONLY} ({OWN_KERNEL})")
        return Acceleration("kvm", f"PVM: KVM without hardware, for which the kernel {kernel.name} is built")
    if not trial.fast:
        return _emulation(f"KVM is itself emulated here ({trial.told})")
    return Acceleration("kvm", f"hardware virtualization: {trial.told}")


def _emulation(why: str) -> Acceleration:
    return Acceleration("tcg", f"software emulation: {why}")


def unfit(kvm: Kvm, kernel: GuestKernel | None) -> str | None:
    """Return why this KVM cannot run that kernel; None where it can, or where the kernel is not known."""
    if kvm.kind is not KvmKind.PVM or kernel is None or kernel.pvm:
        return None
    return f"{_PVM_ONLY}, and {kernel.name} has none"


def _would_run(kvm: Kvm, kernel: GuestKernel | None) -> bool:
    """Tell whether the host's files promise that guests run in KVM for one who may use it."""
    if kvm.kind is KvmKind.PVM:
        return kernel is not None and kernel.pvm
    return kvm.kind in (KvmKind.HARDWARE, KvmKind.NESTED)


_PVM_ONLY = (
    "this host's KVM is PVM, which has no hardware behind it and runs only kernels with PVM's guest part"
)


def insist(name: str, kvm: Kvm, kernel: GuestKernel | None) -> Acceleration:
    """Return the accelerator `name`, which is set and so not probed.

    Raises:
        RequirementMissing: No guest could boot on it: it is `kvm`, that is PVM, and the guests'
            kernel is an ordinary one.
    """
    refusal = unfit(kvm, kernel) if name == "kvm" else None
    if refusal is not None:
        raise RequirementMissing(
            f"vmm.accelerator is kvm, but {refusal}: no guest would boot. Take a kernel for it "
            f"({OWN_KERNEL}), or emulation",
            mend="export EMBERBOX_VMM_ACCELERATOR=auto",
        )
    return Acceleration(name, f"{name}, as set")


def judge(code: int | None, output: bytes, timeout_s: float = _PROBE_S) -> Trial:
    """Turn what the probe program did into a finding.

    Args:
        code: Its exit code; None when it was given up.
        output: What it printed.
        timeout_s: When it is given up, in seconds.
    """
    if code is None:
        return Trial(f"KVM hung for {timeout_s:g} s over a test of a few instructions")
    try:
        report = json.loads(output)
        if "error" in report:
            return Trial(f"KVM does not run guests here ({report['error']})")
        took = float(report["microseconds"])
    except (ValueError, TypeError, KeyError):
        return Trial(f"the test of KVM ended with code {code}")
    if took > _HARDWARE_US:
        return Trial(f"a test took {took / 1000:.0f} ms instead of below 1", ran=True)
    return Trial(f"a test ran in {took:.0f} µs", ran=True, fast=True)


def _obstacle(device: Path, kvm: Kvm, kernel: GuestKernel | None) -> str | None:
    if not device.exists():
        return f"this host has no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        # Whoever is let in should find that guests run then.
        advice = unfit(kvm, kernel) or (let_in(device) if _would_run(kvm, kernel) else None)
        return f"{device} may not be used by this user" + (f" ({advice})" if advice else "")
    if platform.machine() != "x86_64":
        return f"there is no test of KVM on {platform.machine()} yet"
    return None


async def _run(command: Sequence[str], device: Path, timeout_s: float) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command,
        str(device),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
        return process.returncode, output
    except TimeoutError:
        return None, b""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # A process that KVM holds in the kernel does not even die: leave it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await process.wait()


def _key(device: Path) -> str:
    status = device.stat()
    return since_boot(status.st_rdev, status.st_ctime_ns, os.geteuid())


def _recalled(cache: Path, key: str) -> Trial | None:
    match recall(cache, key):
        case {"ran": bool(ran), "fast": bool(fast), "told": str(told)}:
            return Trial(told, ran, fast)
    return None
