"""Snapshots that are held open."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from emberbox.errors import SnapshotFailed
from emberbox.vmm.base import MachineSpec
from emberbox.vmm.snapshots.files import SnapshotRecord
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
