from __future__ import annotations

import platform
from typing import NoReturn

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.qemu.host import _look_at_clock
from emberbox.vmm.timestamp import tsc_khz


def test_the_clock_s_frequency_is_measured_alike_each_time() -> None:
    first, second = tsc_khz(), tsc_khz()
    assert first is not None or platform.machine() != "x86_64"
    if first is None or second is None:
        pytest.skip("no time stamp counter")
    assert first > 100_000
    assert abs(first - second) < first / 1000


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors' guests need no frequency")
def test_a_system_that_lets_nobody_make_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(code: bytes) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("emberbox.vmm.timestamp._callable", refuse)
    with pytest.raises(RequirementMissing, match="lets no process make code"):
        _look_at_clock()
