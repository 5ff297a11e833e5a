"""Snapshots that are held open, and freezes that fail."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from emberbox.errors import SnapshotFailed, VmmDied
from emberbox.vmm.base import MachineSpec
from emberbox.vmm.snapshots.files import SnapshotRecord
from emberbox.vmm.snapshots.freezing import freezing
from emberbox.vmm.snapshots.opened import Held, OpenedSnapshot, hold

SPEC = MachineSpec(
    id="a-1", run_dir=Path("/r"), vcpus=1, memory_mib=256, kernel=Path("/k"), initramfs=Path("/i")
)
RECORD = SnapshotRecord(
    memory_bytes=256 * 1024 * 1024,
    memory_mtime_ns=0,
    memory_sample="",
    memory_sha256="",
    state_sha256="",
    vmm_version="1",
    tsc_khz=None,
    vcpus=1,
    drives=0,
    network=False,
)


def held() -> Held:
    return Held(RECORD, os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY))


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_symlink()


async def test_a_snapshot_that_was_closed_makes_no_clones() -> None:
    files = await hold(held)
    opened = OpenedSnapshot(files)
    opened._check(SPEC)
    await opened.close()
    await opened.close()
    assert not is_open(files.memory)
    assert not is_open(files.state)
    with pytest.raises(SnapshotFailed, match="was closed"):
        opened._check(SPEC)


async def test_what_is_opened_after_a_cancellation_is_closed() -> None:
    go_on, opened = threading.Event(), []

    def opening() -> Held:
        go_on.wait(60)
        opened.append(held())
        return opened[0]

    task = asyncio.create_task(hold(opening))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_open(opened[0].memory)
    assert not is_open(opened[0].state)


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
