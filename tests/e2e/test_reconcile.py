"""A killed engine leaves nothing that the next start does not clean up."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Settings
from tests.e2e.conftest import run_entries, vmm_processes
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from emberbox.images import ImageStore

MOMENTS = 16
BUSY = """
import asyncio, sys
from pathlib import Path
from emberbox import Engine, Settings
from emberbox.config import PoolSettings

async def main():
    async with Engine(Settings(data=Path(sys.argv[1]), pool=PoolSettings(maximum=2, minimum=1))) as engine:
        print("up", flush=True)
        while True:
            await asyncio.gather(*(engine.run("print(1)", runtime="python") for _ in range(3)), \
return_exceptions=True)

asyncio.run(main())
"""


async def _busy(data: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BUSY,
        str(data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_killed_at_random_moments(
    settings: Settings, images: ImageStore, data_folder: Path, engine: Engine
) -> None:
    before = (vmm_processes(data_folder), run_entries(data_folder))
    dice = random.Random(20)  # noqa: S311
    for _ in range(MOMENTS):
        process = await _busy(data_folder)
        assert process.stdout is not None
        if dice.random() < 0.8:
            await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        await asyncio.sleep(dice.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with Engine(settings) as next_engine:
            await _settled(data_folder, before)
            assert next_engine.machines == 0
    async with Engine(settings) as last:
        assert (await last.run("print('fine')", runtime="python")).stdout == "fine\n"


async def _settled(data: Path, before: tuple[set[int], set[str]]) -> None:
    try:
        await until(lambda: (vmm_processes(data), run_entries(data)) == before)
    except TimeoutError:
        pytest.fail(f"left: {vmm_processes(data) - before[0]}, {run_entries(data) - before[1]}")


async def test_a_killed_build_of_a_template_is_cleaned_up(
    tmp_path: Path, settings: Settings, images: ImageStore
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "images").symlink_to(settings.data / "images")
    process = await _busy(data)
    await until(lambda: list(data.glob("templates/building-*/memory")))
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with Engine(Settings(data=data)) as engine:
        assert (await engine.run("print('built')", runtime="python")).stdout == "built\n"
    assert not list(data.glob("templates/building-*"))


async def test_two_engines_share_a_data_folder(settings: Settings, images: ImageStore) -> None:
    async with Engine(settings) as one, Engine(settings) as two:
        results = await asyncio.gather(
            *(engine.run("print(1)", runtime="python") for engine in (one, two, one, two))
        )
        assert [result.stdout for result in results] == ["1\n"] * 4
    assert not [
        entry
        for entry in (settings.data / "run").glob("*/*")
        if entry.parent.name.isdecimal() and not _held(entry.parent)
    ]


def _held(folder: Path) -> bool:
    """Whether an engine of this process, such as the tests' shared one, holds the folder."""
    lock = folder.with_name(f"{folder.name}.lock")
    return any(
        entry.readlink() == lock
        for entry in Path("/proc/self/fd").iterdir()
        if entry.is_symlink() and _readable(entry)
    )


def _readable(entry: Path) -> bool:
    try:
        entry.readlink()
    except OSError:
        return False
    return True
