"""What doctor tells of the guests' kernel and of the kind of KVM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.config import ImageSettings, Settings
from emberbox.doctor.checks.guests import check_kernel, look_at_kernel
from emberbox.doctor.checks.virtualization import check_kvm_kind
from emberbox.doctor.finding import Level
from emberbox.vmm.guest_kernel import GuestKernel
from emberbox.vmm.kvm.kinds import Kvm, KvmKind, look_at_kvm
from tests.unit.images.kernels.kernels import config, vmlinux

if TYPE_CHECKING:
    from pathlib import Path

ORDINARY, BUILT_FOR_IT = GuestKernel(name="Debian's kernel"), GuestKernel(name="Linux 6.12-pvm", pvm=True)


@pytest.mark.parametrize(
    ("kvm", "kernel", "level", "follows"),
    [
        (look_at_kvm(told="hardware"), ORDINARY, Level.OK, None),
        (
            Kvm(kind=KvmKind.NESTED, found="nested", needs="the host below"),
            ORDINARY,
            Level.OK,
            "It needs the host below.",
        ),
        (look_at_kvm(told="pvm"), ORDINARY, Level.WARNING, "emberbox setup --kernel FILE"),
        (look_at_kvm(told="pvm"), BUILT_FOR_IT, Level.OK, "CONFIG_PVM_GUEST"),
        (Kvm(kind=KvmKind.UNKNOWN, found="?", needs="to be told"), BUILT_FOR_IT, Level.WARNING, "to be told"),
        (
            Kvm(kind=KvmKind.NONE, found="none", needs="a module", mend="load it"),
            ORDINARY,
            Level.WARNING,
            "a module",
        ),
    ],
)
def test_kinds_of_kvm(kvm: Kvm, kernel: GuestKernel, level: Level, follows: str | None) -> None:
    finding = check_kvm_kind(kvm, kernel)
    assert (finding.level, finding.found, finding.mend) == (level, kvm.found, kvm.mend)
    assert finding.follows is None if follows is None else follows in str(finding.follows)


def test_what_a_kernel_lacks_for_a_driver_is_told() -> None:
    kernel = GuestKernel(name="Linux 6.9", lacks={"qemu": (), "firecracker": ("vsock",)})
    assert check_kernel(kernel).found == "Linux 6.9; firecracker cannot use it: it lacks vsock"


async def test_a_named_kernel_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.images.store.check_requirements", lambda: None)
    monkeypatch.setattr("emberbox.images.store.BUILD_SPACE", 1)
    monkeypatch.setattr("emberbox.images.store.host_architecture", lambda: "amd64")
    file = tmp_path / "vmlinux"
    settings = Settings(data=tmp_path / "data", images=ImageSettings(kernel=str(file)))
    file.write_bytes(vmlinux(embedded="CONFIG_X=y\n"))
    _, finding = await look_at_kernel(settings)
    assert (finding.level, finding.follows) == (Level.MISSING, "No VM can be started.")
    assert "cannot run guests on any driver" in finding.found
    file.write_bytes(vmlinux(embedded=config(extra="CONFIG_PVM_GUEST=y")))
    kernel, finding = await look_at_kernel(settings)
    assert kernel.pvm
    assert (finding.level, finding.found) == (Level.OK, "Linux 6.12.9-own (vmlinux)")


async def test_without_one_it_is_debian_s(tmp_path: Path) -> None:
    kernel, finding = await look_at_kernel(Settings(data=tmp_path))
    assert (kernel.name, kernel.pvm, finding.found) == ("Debian's kernel", False, "Debian's kernel")
