"""Checks of the processor: what leaks between programs that share one, and what the kernel does about it.

Sources: Firecracker's docs/prod-host-setup.md; the kernel's admin-guide/hw-vuln and
admin-guide/kernel-parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Level, Row
from emberbox.doctor.mends import add_kernel_parameter, boot_loader, update_microcode

if TYPE_CHECKING:
    from emberbox.doctor.hostfiles import HostFiles

CPU = "sys/devices/system/cpu"
_SIBLINGS = "Two VMs on one core can learn from each other through what its threads share."

PARAMETERS = {
    "meltdown": "pti=on",
    "spectre_v1": "mitigations=auto",
    "spectre_v2": "spectre_v2=on",
    "spec_store_bypass": "spec_store_bypass_disable=seccomp",
    "l1tf": "l1tf=full,force",
    "mds": "mds=full,nosmt",
    "tsx_async_abort": "tsx_async_abort=full,nosmt",
    "mmio_stale_data": "mmio_stale_data=full,nosmt",
    "itlb_multihit": "kvm.nx_huge_pages=auto",
    "retbleed": "retbleed=auto,nosmt",
    "spec_rstack_overflow": "spec_rstack_overflow=safe-ret",
    "gather_data_sampling": "gather_data_sampling=force",
    "reg_file_data_sampling": "reg_file_data_sampling=on",
    "indirect_target_selection": "indirect_target_selection=on",
    "tsa": "tsa=on",
    "vmscape": "vmscape=force",
}
"""The kernel parameter against each vulnerability that has one."""
TITLES = {
    "meltdown": "Meltdown (KPTI)",
    "spectre_v1": "Spectre v1",
    "spectre_v2": "Spectre v2",
    "spec_store_bypass": "Store bypass (SSBD)",
    "l1tf": "L1 terminal fault",
    "mds": "MDS",
    "tsx_async_abort": "TSX async abort",
    "mmio_stale_data": "MMIO stale data",
    "itlb_multihit": "iTLB multihit",
    "srbds": "SRBDS",
    "spec_rstack_overflow": "SRSO",
    "gather_data_sampling": "Gather data sampling",
    "reg_file_data_sampling": "Register file sampling",
    "indirect_target_selection": "ITS",
    "tsa": "TSA",
}
EXPECTED = (
    "meltdown",
    "spectre_v1",
    "spectre_v2",
    "spec_store_bypass",
    "l1tf",
    "mds",
    "tsx_async_abort",
    "itlb_multihit",
    "srbds",
    "mmio_stale_data",
    "retbleed",
    "spec_rstack_overflow",
    "gather_data_sampling",
    "reg_file_data_sampling",
)
"""What every kernel that is patched tells about, of whatever processor."""
_TURNED_OFF = re.compile(
    r"mitigations=\S*(?:off|no_)\S*|nopti|pti=off|kpti=0|nospectre_v[12]\S*|nospec\S*|"
    r"spectre_v2(?:_user)?=off|spectre_bhi=off|"
    r"(?:l1tf|mds|tsx_async_abort|mmio_stale_data|retbleed|srbds|gather_data_sampling|reg_file_data_sampling|"
    r"spec_store_bypass_disable|spec_rstack_overflow|indirect_target_selection|tsa|vmscape|"
    r"kvm\.nx_huge_pages|ssbd)=(?:force-)?off"
)
_BAD = re.compile(r"(?<!not )vulnerable|IBPB: disabled", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What the checks need to know of the processor.

    Args:
        vendor: As /proc/cpuinfo names it; None where it does not.
        microcode: The revision it tells; None where it tells none.
        virtual: Whether it is one that a hypervisor shows us; None when that cannot be seen.
        loader: See `boot_loader`.
        x86: Whether it is of Intel's or AMD's kind; None when that cannot be seen.
    """

    vendor: str | None = None
    microcode: str | None = None
    virtual: bool | None = None
    loader: str | None = None
    x86: bool | None = None


def look_at_processor(files: HostFiles) -> Processor:
    """Read /proc/cpuinfo and the boot loader's settings."""
    told: dict[str, str] = {}
    for line in files.lines("proc/cpuinfo"):
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    flags = told.get("flags")
    return Processor(
        vendor=told.get("vendor_id"),
        microcode=told.get("microcode"),
        virtual=None if flags is None else "hypervisor" in flags.split(),
        loader=boot_loader(files),
        x86="vendor_id" in told if told else None,
    )


def check_threads(control: str | None, loader: str | None) -> Finding:
    """Judge simultaneous multithreading by what /sys/devices/system/cpu/smt/control says."""
    row = Row("smt", "Multithreading (SMT)")
    if control is None:
        return row.unknown(f"cannot be seen: there is no /{CPU}/smt/control")
    if control in ("off", "forceoff", "notsupported", "notimplemented"):
        return row.ok(control)
    told, mend = add_kernel_parameter("nosmt=force", loader)
    return row.warning(control, f"{_SIBLINGS} {told}", mend)


def check_vulnerability(name: str, told: str | None, processor: Processor) -> Finding:
    """Judge one file of /sys/devices/system/cpu/vulnerabilities.

    Args:
        name: The file's.
        told: What it says; None when there is no such file.
        processor: Decides what mends it.
    """
    row = Row(f"vulnerability.{name}", TITLES.get(name, name.replace("_", " ").capitalize()))
    if told is None:
        return row.unknown("this kernel does not tell", "Update the host's kernel.")
    problem = _problem(name, told, processor)
    if problem is None:
        level = Level.UNKNOWN if told.lower().startswith("unknown") or not told else Level.OK
        return row.of(level, told or "the kernel tells nothing")
    follows, mend = _remedy(name, told, processor)
    return row.warning(told, " ".join(filter(None, (problem, follows))), mend)


def _problem(name: str, told: str, processor: Processor) -> str | None:
    if _BAD.search(told):
        return "A guest may read what is not its own." if "smt vulnerable" not in told.lower() else _SIBLINGS
    if name == "spectre_v2" and processor.x86 and told.startswith("Mitigation") and "IBPB" not in told:
        return "Without IBPB, branch predictions that one VM trained steer the next."
    if name == "spec_store_bypass" and processor.x86 and told.endswith("via prctl"):
        relies = "on x86 Firecracker relies on its seccomp filter for that"
        return f"Only programs that ask are protected, and {relies}."
    return None


def _remedy(name: str, told: str, processor: Processor) -> tuple[str | None, str | None]:
    if (
        "microcode" in told.lower()
        or name in ("old_microcode", "srbds")
        or (name == "spectre_v2" and "IBPB" not in told)
    ):
        if processor.virtual:
            return "It takes newer microcode, which the host below this virtual machine loads.", None
        return "It takes newer microcode, loaded at the next start.", update_microcode(processor.vendor)
    if "smt vulnerable" in told.lower():
        return add_kernel_parameter("nosmt=force", processor.loader)
    if name in PARAMETERS:
        return add_kernel_parameter(PARAMETERS[name], processor.loader)
    return "See the kernel's documentation of hardware vulnerabilities.", None


def check_mitigations(command_line: str | None) -> Finding:
    """Judge whether the kernel was told to leave mitigations out."""
    row = Row("mitigations", "Mitigations")
    if command_line is None:
        return row.unknown("the kernel's command line cannot be read")
    off = [word for word in command_line.split() if _TURNED_OFF.fullmatch(word)]
    if not off:
        return row.ok("none is turned off on the kernel's command line")
    follows = (
        "Take that out of the kernel's command line and start the host again;"
        " “not affected” below may come from it."
    )
    return row.warning(f"turned off: {' '.join(off)}", follows)


def check_microcode(processor: Processor, judged: str | None) -> Finding:
    """Judge the microcode by what the kernel knows of old revisions.

    Args:
        processor: Tells its revision.
        judged: What the file old_microcode of the vulnerabilities says; None where the kernel has none.
    """
    row = Row("microcode", "Microcode")
    revision = processor.microcode
    if processor.virtual:
        return row.by_hand(
            f"{revision or 'not told'}, as the hypervisor shows it",
            "The host below this virtual machine loads it: ask who runs that.",
        )
    if revision is None:
        return row.unknown("cannot be seen: /proc/cpuinfo tells no revision")
    if judged is None:
        return row.by_hand(
            f"revision {revision}",
            "This kernel knows no list of old ones: compare with the vendor's newest.",
            update_microcode(processor.vendor),
        )
    if judged.startswith("Not affected"):
        return row.ok(f"revision {revision}, not known as old")
    return row.warning(
        f"revision {revision}: {judged}", "Known holes are open.", update_microcode(processor.vendor)
    )


def check_processor(files: HostFiles) -> list[Finding]:
    """Look at all of it."""
    processor = look_at_processor(files)
    folder = f"{CPU}/vulnerabilities"
    there = [name for name in files.names(folder) or () if name != "old_microcode"]
    names = dict.fromkeys((*EXPECTED, *there))
    return [
        check_threads(files.read(f"{CPU}/smt/control"), processor.loader),
        check_mitigations(files.read("proc/cmdline")),
        check_microcode(processor, files.read(f"{folder}/old_microcode")),
        *(check_vulnerability(name, files.read(f"{folder}/{name}"), processor) for name in names),
    ]
