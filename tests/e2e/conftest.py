"""Fixtures of the tests on real VMs: built images, engines, and a look at what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine, Settings
from emberbox.config import CapacitySettings, PoolSettings, VmmSettings
from emberbox.images import ImageStore
from emberbox.runtimes import RuntimeCatalog, builtin_folder, discover
from emberbox.vmm.process.cgroup import Cgroups
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

E2E = Path(__file__).parent
BUILD_S = 1800


PATIENT = VmmSettings(boot_timeout_s=600, clone_timeout_s=300)
"""Bounds of boots and clones that a busy machine keeps."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if E2E in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
    # The first that needs images has them built, where the test data are new.
    for item in [item for item in ours if "images" in getattr(item, "fixturenames", ())][:1]:
        item.add_marker(pytest.mark.timeout(BUILD_S), append=False)


@pytest.fixture(scope="session", autouse=True)
def patient_cancelling() -> Iterator[None]:
    """Let an agent on a busy machine take its time to end a program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emberbox.guest.process.CANCEL_S", PATIENCE_S)
        yield


@pytest.fixture(scope="session")
def settings(data_folder: Path) -> Settings:
    """Settings of the tests' engines: no pool unless a test asks for one."""
    return Settings(
        data=data_folder, capacity=CapacitySettings(machines=60, queue_timeout_s=600), vmm=PATIENT
    )


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
async def pooled(
    settings: Settings, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Engine]:
    """An engine with a pool, which does not take a slow answer for none."""
    monkeypatch.setattr("emberbox.sandbox.templates.pool.PING_S", PATIENCE_S)
    async with Engine(replace(settings, pool=PoolSettings(maximum=4, window_s=5, health_s=1))) as running:
        yield running


MARK = b"guest=emberbox-"


def vmm_processes(*roots: Path) -> set[int]:
    """Return the pids of all VMMs, and of what confines them, that hold a file below one of `roots` open.

    A machine's VMM keeps its console log open for as long as it lives, also when its folder was
    removed and its parent has died.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and MARK in (entry / "cmdline").read_bytes() and _holds(entry, roots):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def _holds(process: Path, roots: tuple[Path, ...]) -> bool:
    names = [str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()]
    return any(name.startswith(f"{root.resolve()}/") for name in names for root in roots)


def run_entries(data: Path) -> set[str]:
    """Return the folders of live machines."""
    return (
        {str(path.relative_to(data)) for path in (data / "run").glob("*/*")}
        if (data / "run").exists()
        else set()
    )


def control_groups() -> set[str]:
    """Return the control groups of machines in which no process is.

    A machine's own is never seen so for long.
    """
    groups = Cgroups()
    if not groups.prepare():
        return set()
    found = set()
    for name in groups.names(""):
        for folder in groups.find(name).folders:
            with contextlib.suppress(OSError):
                if not (folder / "cgroup.procs").read_text():
                    found.add(str(folder))
    return found


def child_processes() -> set[int]:
    """Return the children of this process, those included that ended and were not waited for."""
    return {
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


def descriptors(data: Path) -> Counter[str]:
    """Count the open descriptors by kind.

    Locks and templates' files are left out: an engine keeps them open on purpose.
    """
    kinds: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(entry.readlink())
            if name.startswith(f"{data.resolve()}/run/") and not name.endswith(".lock"):
                kinds["files of machines"] += 1
            elif name.startswith(("socket:", "pipe:", "anon_inode:[pidfd]")):
                kinds[name.partition(":")[0]] += 1
    return kinds


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind(
    request: pytest.FixtureRequest, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[None]:
    """Every test must leave the processes, machine folders, control groups and descriptors it found."""
    if "engine" in request.fixturenames:
        request.getfixturevalue("engine")
    roots = (data_folder, tmp_path_factory.getbasetemp())

    def look() -> dict[str, set[int] | set[str] | Counter[str]]:
        return {
            "VMMs": vmm_processes(*roots),
            "children": child_processes(),
            "folders": run_entries(data_folder),
            "control groups": control_groups(),
            "descriptors": descriptors(data_folder),
        }

    before = look()
    yield
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        now = look()
        left = {name: extra for name in now if (extra := now[name] - before[name])}  # type: ignore[operator]
        if not left:
            return
        assert asyncio.get_running_loop().time() < deadline, f"left behind: {left}"
        await asyncio.sleep(0.1)


@pytest.fixture(scope="session", autouse=True)
def _patient_programs() -> Iterator[None]:
    """Give programs that name no limit the time they take in an emulated guest of a busy machine."""

    def patiently(folders: Sequence[Path]) -> RuntimeCatalog:
        found = discover(folders)
        return RuntimeCatalog(
            [replace(one, limits=replace(one.limits, timeout_s=PATIENCE_S)) for one in found]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emberbox.sandbox.engine.discover", patiently)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    for name in [
        name for name in os.environ if name.startswith("EMBERBOX_") and name != "EMBERBOX_TEST_DATA"
    ]:
        patch.delenv(name)
    yield
    patch.undo()
