"""Templates, their snapshots, and the clones made from them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import SnapshotFailed
from emberbox.vmm.base import Drive, MachineState, part
from tests.e2e.drivers import traces
from tests.e2e.drivers.guests import execute
from tests.e2e.vmm_guests import machine_spec, separate, talk

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Image
    from emberbox.vmm.base import Snapshot
    from tests.e2e.drivers.conftest import Template


async def test_three_clones_of_one_template_live_side_by_side(
    template: Template, image: Image, tmp_path: Path
) -> None:
    before = files_of(template.snapshot, image)
    clones = await asyncio.gather(*(template.loaded.restore(machine_spec(image, tmp_path)) for _ in range(3)))
    told = []
    try:
        assert len({clone.pid for clone in clones}) == 3
        for clone in clones:
            assert clone.poll() is MachineState.RUNNING
            async with talk(clone) as client:
                await separate(client, clone)
                told += [
                    await execute(client, "cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/random/uuid")
                ]
    finally:
        await asyncio.gather(*(clone.kill() for clone in clones))
    assert [text.split()[0] for text in told] == [clone.spec.id for clone in clones]
    assert len({text.split()[1] for text in told}) == 3
    assert [clone.poll() for clone in clones] == [MachineState.KILLED] * 3
    assert [await clone.wait() for clone in clones] == [-9] * 3
    assert not traces.processes() & {clone.pid for clone in clones}
    assert files_of(template.snapshot, image) == before, "a clone changed its template"


def files_of(snapshot: Snapshot, image: Image) -> list[tuple[object, ...]]:
    """Return the facts that must stay of the files that clones share.

    They are owners, modes and times of change; of the memory each byte.
    """
    told: list[tuple[object, ...]] = []
    for path in (snapshot.memory, snapshot.state, image.kernel, image.initramfs, image.rootfs):
        status = path.stat()
        told.append(
            (path, status.st_uid, status.st_gid, oct(status.st_mode), status.st_size, status.st_mtime_ns)
        )
    with snapshot.memory.open("rb") as file:
        return [*told, (hashlib.file_digest(file, "sha256").digest(),)]


async def test_closing_a_snapshot_leaves_its_clones_alive(
    template: Template, image: Image, tmp_path: Path
) -> None:
    loaded = await template.driver.open_snapshot(template.snapshot)
    clone = await loaded.restore(machine_spec(image, tmp_path))
    try:
        await loaded.close()
        await loaded.close()
        for _ in range(3):  # one host after another: each finds the agent
            async with talk(clone) as client:
                await separate(client, clone)
                assert await execute(client, "echo", "here") == "here\n"
                await part(clone, client.close)
        with pytest.raises(SnapshotFailed):
            await loaded.restore(clone.spec)
    finally:
        await clone.kill()


def copied(snapshot: Snapshot, folder: Path) -> Snapshot:
    """Return a copy of all the snapshot's files, such as they are."""
    for path in (snapshot.memory, snapshot.state):
        for file in path.parent.glob(f"{path.name}*"):
            subprocess.run(
                ["/usr/bin/cp", "--preserve=all", "--sparse=always", str(file), str(folder)], check=True
            )
    return replace(snapshot, memory=folder / snapshot.memory.name, state=folder / snapshot.state.name)


async def test_a_changed_snapshot_is_refused(template: Template, tmp_path: Path) -> None:
    copy = copied(template.snapshot, tmp_path)
    await (await template.driver.open_snapshot(copy)).close()
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await template.driver.open_snapshot(replace(copy, vmm_version=f"{copy.vmm_version} of old"))
    state = copy.state.read_bytes()
    damaged = bytearray(state)
    damaged[len(damaged) // 2] ^= 1
    for wrong in (bytes(damaged), state[:-1], b""):
        copy.state.chmod(0o600)
        copy.state.write_bytes(wrong)
        with pytest.raises(SnapshotFailed, match="build the template anew"):
            await template.driver.open_snapshot(copy)
    copy.state.write_bytes(state)
    for path in (copy.memory, copy.state):
        shutil.copystat(template.snapshot.memory if path is copy.memory else template.snapshot.state, path)
    await (await template.driver.open_snapshot(copy)).close()
    copy.memory.chmod(0o600)
    os.truncate(copy.memory, copy.memory.stat().st_size - 4096)
    shutil.copystat(template.snapshot.memory, copy.memory)
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await template.driver.open_snapshot(copy)
    copy.memory.unlink()
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await template.driver.open_snapshot(copy)


async def test_a_clone_of_another_make_is_refused(template: Template, image: Image, tmp_path: Path) -> None:
    spec = machine_spec(image, tmp_path)
    second = Drive(path=image.rootfs)
    for other in (
        replace(spec, memory_mib=512),
        replace(spec, vcpus=2),
        replace(spec, drives=(*spec.drives, second)),
    ):
        with pytest.raises(SnapshotFailed, match="template's"):
            await template.loaded.restore(other)


async def test_only_a_template_can_be_frozen(template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    with pytest.raises(SnapshotFailed, match="not started as a template"):
        await template.driver.snapshot(clone, tmp_path / "state")
    assert clone.poll() is MachineState.KILLED
    assert not (tmp_path / "state").exists()


async def test_a_run_folder_may_lie_deep(template: Template, image: Image, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    clone = await template.loaded.restore(machine_spec(image, deep))
    try:
        assert len(str(clone.spec.channel_socket)) > 108
        async with talk(clone) as client:
            await separate(client, clone)
    finally:
        await clone.kill()
