"""Facts about the host."""

from __future__ import annotations

import platform

import pytest

from emberbox.bench.host import cpu_name, look_at_host
from emberbox.vmm.base import DriverReport


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7763\n", "AMD EPYC 7763"),
        ("processor : 0\nModel : Board 5\n", "Board 5"),
        ("processor : 0\nmodel name :\n", platform.machine()),
        ("", platform.machine()),
    ],
)
def test_the_processor_is_named(cpuinfo: str, expected: str) -> None:
    assert cpu_name(cpuinfo) == expected


def test_what_the_driver_found_is_told() -> None:
    report = DriverReport(usable=True, accelerator="tcg", version="QEMU 7.2", reason="KVM is slow here")
    facts = look_at_host(report, (1.0, 2.0, 3.0))
    assert (facts.accelerator, facts.accelerator_reason, facts.vmm) == ("tcg", "KVM is slow here", "QEMU 7.2")
    assert facts.load_average == (1.0, 2.0, 3.0)
    assert facts.cores >= 1
    assert facts.memory_mib > 100
