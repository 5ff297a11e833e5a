"""VMMs started ahead of time, on the drivers that can: a clone is one load, and nothing stays."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox import Engine
from emberbox.config import PoolSettings
from emberbox.errors import SnapshotFailed
from emberbox.vmm.base import PreparingSnapshot
from emberbox.vmm.process import spawn
from tests.e2e.drivers import traces, waiting
from tests.e2e.drivers.guests import execute
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.patience import PATIENCE_S
from tests.patience import until as reached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emberbox import Settings
    from emberbox.images import Image
    from tests.e2e.drivers.conftest import Template
    from tests.e2e.drivers.kinds import Kind

ROOT = Path(__file__).parents[3]


@pytest.fixture
def loaded(template: Template) -> PreparingSnapshot:
    """The template, where its driver prepares clones."""
    if not isinstance(template.loaded, PreparingSnapshot):
        pytest.skip("this driver starts no VMM ahead of time")
    return template.loaded


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The processes that were started, by their programs, in order."""
    started: list[str] = []
    popen = spawn.popen

    def noted(command: list[str], *arguments: Any) -> Any:
        started.append(Path(command[0]).name)
        return popen(command, *arguments)

    monkeypatch.setattr(spawn, "popen", noted)
    yield started


async def test_a_clone_is_one_load_once_its_vmm_waits(
    loaded: PreparingSnapshot, image: Image, tmp_path: Path, starts: list[str]
) -> None:
    standby = await loaded.prepare(machine_spec(image, tmp_path))
    assert len(starts) == 1
    assert standby.alive
    machine = await standby.restore()
    try:
        assert len(starts) == 1, "nothing was started for the clone itself"
        assert machine.pid == standby.pid
        assert not standby.alive
        await standby.discard()
        async with talk(machine) as client:
            await separate(client, machine)
            assert await execute(client, "echo", "here") == "here\n"
        with pytest.raises(SnapshotFailed):
            await standby.restore()
    finally:
        await machine.kill()


async def test_a_waiting_vmm_is_shut_in_as_any(
    loaded: PreparingSnapshot, image: Image, tmp_path: Path
) -> None:
    standby = await loaded.prepare(machine_spec(image, tmp_path))
    try:
        lines = Path(f"/proc/{standby.pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert set(status["Uid"].split()) != {"0"}
        assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        assert traces.control_groups(standby.spec.id) == {standby.spec.id}
    finally:
        await standby.discard()
        await standby.discard()
    assert not standby.alive
    with pytest.raises(SnapshotFailed):
        await standby.restore()


async def test_one_that_dies_while_it_waits_is_told(
    loaded: PreparingSnapshot, image: Image, tmp_path: Path
) -> None:
    standby = await loaded.prepare(machine_spec(image, tmp_path))
    os.kill(standby.pid, signal.SIGKILL)
    await reached(lambda: not standby.alive)
    with pytest.raises(SnapshotFailed, match="SIGKILL"):
        await standby.restore()


async def test_preparing_that_is_cancelled_leaves_nothing(
    loaded: PreparingSnapshot, image: Image, tmp_path: Path
) -> None:
    for pause_s in (0.0, 0.02, 0.2):
        preparing = asyncio.create_task(loaded.prepare(machine_spec(image, tmp_path)))
        await asyncio.sleep(pause_s)
        preparing.cancel()
        try:
            standby = await preparing
        except asyncio.CancelledError:
            continue
        await standby.discard()


@asynccontextmanager
async def stocked(kind: Kind, settings: Settings, pool: PoolSettings) -> AsyncIterator[Engine]:
    """An engine whose stock is full."""
    if not kind.peer and kind.name != "firecracker":
        pytest.skip("this driver starts no VMM ahead of time")
    async with Engine(replace(settings, pool=pool)) as engine:
        for _ in range(2):
            assert (await engine.run("print(1)", runtime="python")).stdout == "1\n"
        await reached(lambda: engine.standbys().ready == pool.standby)
        yield engine


async def test_the_start_is_out_of_the_way_of_a_clone(
    kind: Kind, settings: Settings, starts: list[str]
) -> None:
    async with stocked(kind, settings, PoolSettings(standby=1)) as engine:
        before, known = len(starts), traces.standbys(settings.data)
        assert len(known) == 1
        async with engine.sandbox("python") as sandbox:
            assert sandbox.pid in known, "the clone is the VMM that waited"
            assert (await sandbox.run("print(6 * 7)")).stdout == "42\n"
        assert engine.standbys().used == 1
        await reached(lambda: engine.standbys().ready == 1)
        assert len(starts) == before + 1, "one was started, to fill the stock again"
        assert engine.standbys().started == 2
        (pid,) = traces.standbys(settings.data)
        os.kill(pid, signal.SIGKILL)
        assert (await engine.run("print(2)", runtime="python")).stdout == "2\n", (
            "one that died costs a start, and no run"
        )


async def test_what_is_idle_is_ended(kind: Kind, settings: Settings) -> None:
    async with stocked(kind, settings, PoolSettings(standby=2, standby_idle_s=30)) as engine:
        engine._running.standbys._settings = PoolSettings(standby=2, standby_idle_s=1)
        await reached(lambda: engine.standbys().ready == 0 and engine.machines == 0)
        assert traces.standbys(settings.data) == set()


async def test_a_killed_engine_leaves_no_standby(
    kind: Kind, engine: Engine, settings: Settings, data: Path
) -> None:
    if not kind.peer and kind.name != "firecracker":
        pytest.skip("this driver starts no VMM ahead of time")
    before = set((data / "run").glob("*/*"))
    command = [sys.executable, "-m", waiting.__name__, kind.name, str(data)]
    killed = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert killed.stdout is not None
    assert await asyncio.wait_for(killed.stdout.readline(), PATIENCE_S) == b"waiting\n"
    (name,) = {
        folder.name.rpartition("-")[0]
        for folder in set((data / "run").glob("*/*")) - before
        if "-" in folder.name
    }
    assert traces.standbys(data)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    async with Engine(settings):
        await reached(lambda: not traces.processes(f"{name}-") and not traces.control_groups(f"{name}-"))
        assert not [
            folder
            for folder in set((data / "run").glob("*/*")) - before
            if folder.name.startswith(f"{name}-")
        ]
