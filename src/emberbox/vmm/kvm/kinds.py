"""The kinds of KVM: what runs the guests' code, and what that asks of host and guest.

KVM with the processor's help (Intel's vmx, AMD's svm) runs any kernel. PVM is KVM without any
hardware, for cloud machines that have none: it runs the guest's kernel as a process would be run,
so that kernel must be built for it; of any other kernel it emulates the privileged half, one
instruction at a time. Which one it is, is seen from the modules and the processor's flags.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from emberbox.vmm.cpuinfo import first_value

OWN_KERNEL = "emberbox setup --kernel FILE"
"""The command by which guests get another kernel."""
_MODULES = Path("sys/module")
_CPUINFO = Path("proc/cpuinfo")
_FLAGS = {"vmx": ("Intel VT-x (vmx)", "kvm_intel"), "svm": ("AMD-V (svm)", "kvm_amd")}


class KvmKind(StrEnum):
    """What runs guests' code."""

    HARDWARE = "hardware"
    """The processor, with any kernel. On ARM too."""
    NESTED = "nested"
    """The same in a virtual machine, whose own host lets it through."""
    PVM = "pvm"
    """The host's kernel, without hardware; only guest kernels that have PVM's guest part."""
    UNKNOWN = "unknown"
    """There is a device, and nothing that says what is behind it."""
    NONE = "none"
    """Nothing: there is no KVM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kvm:
    """The host's KVM.

    Args:
        kind: Its kind.
        found: What it is, for people.
        needs: What it takes to use it, for people.
        mend: The command that brings it; None where there is none.
    """

    kind: KvmKind
    found: str
    needs: str
    mend: str | None = None


def look_at_kvm(root: Path = Path("/"), *, told: str = "auto") -> Kvm:
    """Tell which kind of KVM this host has, by its files alone: that it works is for a probe to find out.

    Args:
        root: Where the host's files are.
        told: `hardware` or `pvm` to believe that instead; `auto` to look.
    """
    if told == "pvm":
        return _pvm("PVM, as set")
    if told == "hardware":
        return Kvm(kind=KvmKind.HARDWARE, found="hardware virtualization, as set", needs=_ANY_KERNEL)
    flags = frozenset(first_value("flags", cpuinfo=root / _CPUINFO).split())
    guest = "hypervisor" in flags
    title, module = next((named for flag, named in _FLAGS.items() if flag in flags), ("", ""))
    if title and (root / _MODULES / module).is_dir():
        return _hardware(title, nested=guest)
    if (root / _MODULES / "kvm_pvm").is_dir():
        return _pvm("PVM: KVM without hardware virtualization")
    if not (root / "dev/kvm").exists():
        return _none(title, module, nested=guest)
    # Without a known module it is built in, hidden, or another architecture's.
    if title:
        return _hardware(title, nested=guest)
    if not flags and first_value("processor", cpuinfo=root / _CPUINFO):  # only x86 has flags
        return Kvm(kind=KvmKind.HARDWARE, found="the processor's virtualization", needs=_ANY_KERNEL)
    return Kvm(
        kind=KvmKind.UNKNOWN,
        found="KVM of an unknown kind: the processor shows neither vmx nor svm",
        needs=_TELL,
    )


def _hardware(title: str, *, nested: bool) -> Kvm:
    if not nested:
        return Kvm(kind=KvmKind.HARDWARE, found=title, needs=_ANY_KERNEL)
    return Kvm(
        kind=KvmKind.NESTED,
        found=f"{title}, nested: this host is a virtual machine itself",
        needs=f"{_ANY_KERNEL}; the host below must let nested virtualization through, and makes it slower",
    )


def _pvm(found: str) -> Kvm:
    return Kvm(
        kind=KvmKind.PVM,
        found=found,
        needs="a guest kernel with PVM's guest part (CONFIG_PVM_GUEST), which no distribution ships: "
        f"{OWN_KERNEL}",
    )


def _none(title: str, module: str, *, nested: bool) -> Kvm:
    if title:
        return Kvm(
            kind=KvmKind.NONE,
            found=f"none, though the processor has {title}",
            needs=f"the kernel module {module}, which is not loaded",
            mend=f"sudo modprobe {module}",
        )
    if nested:
        needs = (
            "a machine with nested virtualization, or a host kernel with PVM and a guest kernel for it; "
            "without either, programs run under emulation"
        )
        return Kvm(
            kind=KvmKind.NONE,
            found="none: this host is a virtual machine without nested virtualization",
            needs=needs,
        )
    return Kvm(
        kind=KvmKind.NONE,
        found="none: the processor shows no virtualization",
        needs="virtualization turned on in the firmware's settings, if the processor has it",
    )


_ANY_KERNEL = "any guest kernel"
_TELL = (
    'to be told which kind it is, where the probe comes to the wrong end: vmm.kvm_kind = "hardware" or "pvm"'
)
