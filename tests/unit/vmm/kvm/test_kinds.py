"""Which kind of KVM a host has, by trees of files that stand for hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.kvm.kinds import Kvm, KvmKind, look_at_kvm

if TYPE_CHECKING:
    from pathlib import Path


def host(root: Path, cpuinfo: str, *modules: str, device: bool = True) -> Kvm:
    for module in modules:
        (root / "sys/module" / module / "parameters").mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (root / "dev").mkdir()
    if device:
        (root / "dev/kvm").touch()
    return look_at_kvm(root)


def flags(*names: str) -> str:
    return f"processor\t: 0\nflags\t\t: fpu sse2 {' '.join(names)}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "modules", "kind", "found", "needs"),
    [
        (flags("vmx"), ["kvm", "kvm_intel"], KvmKind.HARDWARE, "Intel VT-x (vmx)", "any guest kernel"),
        (flags("svm"), ["kvm", "kvm_amd"], KvmKind.HARDWARE, "AMD-V (svm)", "any guest kernel"),
        (
            flags("svm", "hypervisor"),
            ["kvm", "kvm_amd"],
            KvmKind.NESTED,
            "AMD-V (svm), nested",
            "the host below",
        ),
        (flags("vmx"), ["kvm"], KvmKind.HARDWARE, "Intel VT-x (vmx)", "any guest kernel"),
        (
            flags("hypervisor"),
            ["kvm", "kvm_pvm"],
            KvmKind.PVM,
            "PVM: KVM without hardware",
            "emberbox setup --kernel FILE",
        ),
        (flags("vmx"), ["kvm", "kvm_pvm"], KvmKind.PVM, "PVM", "CONFIG_PVM_GUEST"),
        (flags("hypervisor"), ["kvm", "kvm_pvm", "kvm_intel"], KvmKind.PVM, "PVM", "CONFIG_PVM_GUEST"),
        (flags("hypervisor"), ["kvm"], KvmKind.UNKNOWN, "neither vmx nor svm", "vmm.kvm_kind"),
        (
            "processor\t: 0\nFeatures\t: fp asimd\n",
            ["kvm"],
            KvmKind.HARDWARE,
            "the processor's",
            "any guest kernel",
        ),
        ("", [], KvmKind.UNKNOWN, "unknown kind", "vmm.kvm_kind"),
    ],
)
def test_kinds(
    tmp_path: Path, cpuinfo: str, modules: list[str], kind: KvmKind, found: str, needs: str
) -> None:
    seen = host(tmp_path, cpuinfo, *modules)
    assert seen.kind is kind
    assert found in seen.found
    assert needs in seen.needs


@pytest.mark.parametrize(
    ("names", "needs", "mend"),
    [
        (["vmx"], "the kernel module kvm_intel", "sudo modprobe kvm_intel"),
        (["hypervisor"], "nested virtualization, or a host kernel with PVM", None),
        ([], "firmware", None),
    ],
)
def test_no_kvm_at_all(tmp_path: Path, names: list[str], needs: str, mend: str | None) -> None:
    seen = host(tmp_path, flags(*names), device=False)
    assert seen.kind is KvmKind.NONE
    assert needs in seen.needs
    assert seen.mend == mend


def test_what_is_told_is_believed(tmp_path: Path) -> None:
    assert look_at_kvm(tmp_path, told="pvm").kind is KvmKind.PVM
    assert look_at_kvm(tmp_path, told="hardware").kind is KvmKind.HARDWARE
