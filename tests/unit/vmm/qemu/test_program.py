from __future__ import annotations

import pytest

from emberbox.vmm.qemu.program import mend, packages


@pytest.mark.parametrize(
    ("machine", "package"), [("x86_64", "qemu-system-x86"), ("aarch64", "qemu-system-arm")]
)
def test_what_is_missing_comes_with_its_mend(machine: str, package: str) -> None:
    assert packages(machine) == {f"qemu-system-{machine}": package}
    assert mend(machine) == f"apt-get install -y {package} bubblewrap"
