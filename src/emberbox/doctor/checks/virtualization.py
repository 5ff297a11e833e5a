"""Checks of KVM and of the machine that it runs on.

Source: Firecracker's docs/prod-host-setup.md, about kvm-pit threads and about the time that Linux
6.1 takes to make a VM.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emberbox.doctor.checks.processors import CPU, look_at_processor
from emberbox.doctor.finding import Finding, Level, Row
from emberbox.doctor.mends import NEXT_START, add_kernel_parameter, set_module_option
from emberbox.vmm.kvm.acceleration import unfit
from emberbox.vmm.kvm.kinds import KvmKind

if TYPE_CHECKING:
    from emberbox.doctor.hostfiles import HostFiles
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.kvm.acceleration import Acceleration
    from emberbox.vmm.kvm.kinds import Kvm

_PARAMETERS = "sys/module/kvm/parameters"
_MUCH_STOLEN = 0.05
_NEEDED = ("cpu", "memory", "pids")


def check_kvm(probed: Acceleration) -> Finding:
    """Judge what running code in KVM told."""
    good = probed.name == "kvm"
    return Row("kvm", "KVM").of(
        Level.OK if good else Level.WARNING, probed.reason, None if good else "Firecracker cannot run here."
    )


def check_kvm_kind(kvm: Kvm, kernel: GuestKernel) -> Finding:
    """Say which kind of KVM this host has, and what that needs.

    Whether it runs guests is told by the acceleration.

    Args:
        kvm: What the host's files tell of it.
        kernel: What guests boot.
    """
    fit = kvm.kind not in (KvmKind.NONE, KvmKind.UNKNOWN) and unfit(kvm, kernel) is None
    return Row("kvm_kind", "Kind of KVM").of(
        Level.OK if fit else Level.WARNING,
        kvm.found,
        None if fit and kvm.kind is KvmKind.HARDWARE else f"It needs {kvm.needs}.",
        kvm.mend,
    )


def check_machine(virtual: bool | None, stat: str | None) -> Finding:
    """Judge whether this host is itself a virtual machine, and how much time it is kept from running.

    Args:
        virtual: Whether the processor says that a hypervisor shows it; None when it does not tell.
        stat: /proc/stat, whose first line counts stolen time since the start.
    """
    row = Row("machine", "Machine")
    if virtual is None:
        return row.unknown("cannot be seen: /proc/cpuinfo has no flags")
    if not virtual:
        return row.ok("bare metal")
    stolen = stolen_share(stat or "")
    found = "a virtual machine" if stolen is None else f"a virtual machine, {stolen:.1%} of its time stolen"
    if stolen is not None and stolen > _MUCH_STOLEN:
        follows = "Others on the same hardware slow VMs down. Take a machine of its own."
        return row.warning(found, follows)
    follows = (
        "Microcode, multithreading and much of what is told here"
        " are in the hands of whoever runs the host below: ask them."
    )
    return row.by_hand(found, follows)


def stolen_share(stat: str) -> float | None:
    """Return the share of time stolen since the start, 0 to 1; None when /proc/stat does not tell."""
    words = stat.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:9]):
        return None
    times = [int(word) for word in words[1:9]]
    return times[7] / sum(times) if sum(times) else None


def check_huge_pages(
    release: str | None, parameter: str | None, multihit: str | None, *, favoured: bool
) -> Finding:
    """Judge KVM's nx_huge_pages.

    It is a mitigation where the processor needs it, else only a thread that slows the making of
    VMs.

    Args:
        release: What `uname -r` says; the slowness came with 6.1.
        parameter: What the module says: Y, N, auto or never; None when it cannot be read.
        multihit: What the file itlb_multihit of the vulnerabilities says.
        favoured: Whether control groups are mounted with favordynmods, which takes the slowness away too.
    """
    row = Row("nx_huge_pages", "KVM's huge pages")
    if parameter is None:
        return row.unknown(f"cannot be seen: there is no /{_PARAMETERS}/nx_huge_pages")
    needed = multihit is None or not multihit.startswith("Not affected")
    if needed and parameter in ("N", "never"):
        return row.warning(
            f"nx_huge_pages is {parameter}: iTLB multihit is not mitigated",
            f"A guest can stop the whole host. {NEXT_START}",
            set_module_option("kvm", "nx_huge_pages=auto"),
        )
    numbers = re.match(r"(\d+)\.(\d+)", release or "")
    slow = numbers is not None and (int(numbers[1]), int(numbers[2])) >= (6, 1)
    if not slow or favoured or parameter == "never":
        return row.ok(f"nx_huge_pages is {parameter}")
    found = f"nx_huge_pages is {parameter}, and control groups are not mounted with favordynmods"
    follows = "Making a VM may wait for the kernel's control groups."
    if needed:
        mend = "mount -o remount,favordynmods /sys/fs/cgroup"
    else:
        follows, mend = f"{follows} {NEXT_START}", set_module_option("kvm", "nx_huge_pages=never")
    return row.warning(found, follows, mend)


def check_timer(period: str | None, *, x86: bool | None) -> Finding:
    """Judge KVM's min_timer_period_us, which bounds what a guest's timer interrupts cost the host."""
    row = Row("min_timer_period", "Guests' timers")
    if x86 is False:
        return row.ok("only x86 has the timer that could cost the host time")
    if period is None or not period.isdecimal():
        return row.unknown(f"cannot be seen: there is no /{_PARAMETERS}/min_timer_period_us")
    if int(period) >= 200:
        return row.ok(f"at most every {period} µs")
    return row.warning(
        f"every {period} µs; 200 is usual",
        f"A guest makes the host's kvm-pit thread work, outside of its control group. {NEXT_START}",
        set_module_option("kvm", "min_timer_period_us=200"),
    )


def check_control_groups(unified: str | None, split: list[str] | None, loader: str | None) -> Finding:
    """Judge which control groups bound VMMs.

    Args:
        unified: The controllers of version 2; None when there are none.
        split: The folders of version 1; None when they cannot be read.
        loader: See `boot_loader`.
    """
    row = Row("cgroup_version", "Control groups")
    if unified is not None and all(name in unified.split() for name in _NEEDED):
        return row.ok(f"version 2: {unified}")
    how, mend = add_kernel_parameter("systemd.unified_cgroup_hierarchy=1", loader)
    if split and all(name in split for name in _NEEDED):
        follows = f"They bound VMMs as well, but the kernel's work goes into version 2. {how}"
        return row.warning("version 1", follows, mend)
    follows = (
        f"A VMM that a guest has taken over may use up the host's memory, processes and processors. {how}"
    )
    return row.warning("none that bound VMMs", follows, mend)


def check_virtualization(files: HostFiles) -> list[Finding]:
    """Look at all of it but KVM itself, which has to be run."""
    processor = look_at_processor(files)
    mounts = files.lines("proc/self/mounts")
    favoured = any("favordynmods" in line.split()[3].split(",") for line in mounts if len(line.split()) > 3)
    return [
        check_machine(processor.virtual, files.read("proc/stat")),
        check_huge_pages(
            files.read("proc/sys/kernel/osrelease"),
            files.read(f"{_PARAMETERS}/nx_huge_pages"),
            files.read(f"{CPU}/vulnerabilities/itlb_multihit"),
            favoured=favoured,
        ),
        check_timer(files.read(f"{_PARAMETERS}/min_timer_period_us"), x86=processor.x86),
        check_control_groups(
            files.read("sys/fs/cgroup/cgroup.controllers"), files.names("sys/fs/cgroup"), processor.loader
        ),
    ]
