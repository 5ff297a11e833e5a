"""Fixtures of the tests on real VMs: built images, engines, and a look at what is left behind."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine, Settings
from emberbox.config import CapacitySettings, PoolSettings
from emberbox.images import ImageStore
from emberbox.runtimes import builtin_folder, discover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

E2E = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def settings(data_folder: Path) -> Settings:
    """Settings of the tests' engines: no pool unless a test asks for one."""
    return Settings(data=data_folder, capacity=CapacitySettings(machines=60))


@pytest_asyncio.fixture(scope="session")
async def images(data_folder: Path) -> ImageStore:
    """The image store, with both built-in runtimes in it."""
    store = ImageStore(data_folder / "images")
    for runtime in discover([builtin_folder()]):
        if runtime.name in ("python", "bash"):
            _ = store.find(runtime) or await store.build(runtime)
    return store


@pytest_asyncio.fixture(scope="session")
async def engine(settings: Settings, images: ImageStore) -> AsyncIterator[Engine]:
    """One engine for all tests that only run programs."""
    async with Engine(settings) as running:
        await running.template("python")
        yield running


@pytest_asyncio.fixture
async def pooled(settings: Settings, images: ImageStore) -> AsyncIterator[Engine]:
    """An engine with a pool."""
    async with Engine(replace(settings, pool=PoolSettings(maximum=4, window_s=5, health_s=1))) as running:
        yield running


def vmm_processes(data: Path) -> set[int]:
    """Return the pids of all processes whose working set names `data`: VMMs and what confines them."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"emberbox-" in line and b"qemu-system" in line:
                found.add(int(entry.name))
    return found


def run_entries(data: Path) -> set[str]:
    """Return the folders of live machines."""
    return {str(path.relative_to(data)) for path in (data / "run").glob("*/*")} if (data / "run").exists() else set()


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind(request: pytest.FixtureRequest, data_folder: Path) -> AsyncIterator[None]:
    """Every test must leave as many processes, machine folders and descriptors as it found."""
    if "engine" in request.fixturenames:
        request.getfixturevalue("engine")
    before = (vmm_processes(data_folder), run_entries(data_folder))
    yield
    for _ in range(100):
        left = (vmm_processes(data_folder) - before[0], run_entries(data_folder) - before[1])
        if left == (set(), set()):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"left behind: processes {left[0]}, folders {left[1]}")


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("EMBERBOX_") and name != "EMBERBOX_TEST_DATA"]:
        patch.delenv(name)
    yield
    patch.undo()
