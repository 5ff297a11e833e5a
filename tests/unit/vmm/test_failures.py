"""What fails is undone, and told with the machine's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emberbox.errors import SnapshotFailed, VmmDied, VmmStartFailed
from emberbox.vmm.base import MachineSpec
from emberbox.vmm.failures import freezing, told_as

SPEC = MachineSpec(
    id="a-1", run_dir=Path("/r"), vcpus=1, memory_mib=256, kernel=Path("/k"), initramfs=Path("/i")
)


@pytest.mark.parametrize(
    ("error", "said", "message", "detail"),
    [
        (VmmDied("it ended"), "", "virtual machine a-1 did not start: it ended", "it ended"),
        (OSError("no room"), "one\ntwo", "virtual machine a-1 did not start: two", "one\ntwo"),
        (TimeoutError(), "", "virtual machine a-1 did not start: TimeoutError", ""),
    ],
)
def test_what_goes_wrong_is_told_with_the_machines_name(
    error: Exception, said: str, message: str, detail: str
) -> None:
    with (
        pytest.raises(VmmStartFailed) as told,
        told_as(VmmStartFailed, SPEC, "did not start", said=lambda: said),
    ):
        raise error
    assert (told.value.message, told.value.detail, told.value.__cause__) == (message, detail, error)


@pytest.mark.parametrize(
    "error", [VmmStartFailed("a"), SnapshotFailed("b"), ValueError("c"), KeyboardInterrupt()]
)
def test_what_is_told_already_or_is_no_failure_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as told, told_as(VmmStartFailed, SPEC, "x", also=(SnapshotFailed,)):
        raise error
    assert told.value is error


class Machine:
    """Notes that it is killed, and fails as told."""

    spec = SPEC

    def __init__(self, done: list[str], error: Exception | None = None) -> None:
        self.done = done
        self.error = error

    async def kill(self) -> None:
        self.done.append("killed")
        if self.error is not None:
            raise self.error


def frozen(machine: Any, done: list[str]) -> Any:
    return freezing(machine, lambda: done.append("discarded"))


async def test_a_freeze_that_fails_kills_the_machine_then_discards() -> None:
    done: list[str] = []
    with pytest.raises(SnapshotFailed, match=r"^virtual machine a-1 cannot be frozen: it ended"):
        async with frozen(Machine(done), done):
            raise VmmDied("it ended")
    assert done == ["killed", "discarded"]
    done.clear()
    with pytest.raises(VmmDied):
        async with frozen(Machine(done, VmmDied("and so did this")), done):
            raise VmmDied("it ended")
    assert done == ["killed", "discarded"], "also where it cannot be killed"
    done.clear()
    async with frozen(Machine(done), done):
        pass
    assert done == []
