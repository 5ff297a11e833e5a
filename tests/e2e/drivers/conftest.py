"""Fixtures of the contract: each test runs once for every driver.

What is dear is made once for a driver: its image, a template with its snapshot open, an engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine, Settings
from emberbox.config import CapacitySettings, PoolSettings
from emberbox.runtimes import builtin_folder, discover
from emberbox.vmm.base import SnapshotDriver, part
from tests.e2e.drivers import traces
from tests.e2e.drivers.kinds import KINDS, REAL_CHOSEN, chosen
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.images import Image, ImageStore
    from emberbox.vmm.base import Driver, LoadedSnapshot, Machine, Snapshot
    from tests.e2e.drivers.kinds import Kind

collect_ignore = ["test_firecracker.py", "test_qemu.py"] if REAL_CHOSEN else []


@dataclass(frozen=True, slots=True)
class Template:
    """A frozen machine, open for clones."""

    snapshot: Snapshot
    loaded: LoadedSnapshot
    driver: SnapshotDriver


@pytest.fixture(scope="session", params=chosen())
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which driver."""
    found = KINDS[request.param]
    reason = found.absent()
    if reason is not None:
        pytest.skip(f"{found.name}: {reason}")
    return found


@pytest.fixture(scope="session")
def data(kind: Kind, data_folder: Path, images: ImageStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver's data folder."""
    if kind.prepare is None:
        return data_folder
    folder = tmp_path_factory.mktemp(kind.name)
    (folder / "images").symlink_to(images.root.resolve())
    kind.prepare(folder)
    return folder


@pytest_asyncio.fixture(scope="session")
async def driver(kind: Kind, data: Path) -> Driver:
    """The driver, which has said that it works here."""
    made = kind.driver(data)
    report = await made.probe()
    if not report.usable:
        pytest.skip(f"{kind.name}: {report.reason}")
    return made


@pytest.fixture(scope="session")
def image(images: ImageStore) -> Image:
    """The Python runtime's image."""
    (python,) = (runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")
    found = images.find(python)
    assert found is not None
    return found


@pytest_asyncio.fixture(scope="session")
async def template(
    driver: Driver, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Template]:
    """A template, of which one clone was made already."""
    if not isinstance(driver, SnapshotDriver):
        pytest.skip(f"{driver.name} makes no snapshots")
    folder = tmp_path_factory.mktemp("template")
    machine = await driver.start_template(machine_spec(image, folder), folder / "memory")
    try:
        async with talk(machine) as client:
            await client.hello(timeout_s=PATIENCE_S)
            await client.prepare(waiting=None, timeout_s=PATIENCE_S)
            await client.flush(timeout_s=PATIENCE_S)
            await part(machine, client.close)
    except BaseException as error:
        error.add_note(
            f"the machine is {machine.poll()}; its console ends with: {machine.console()[-1000:]!r}"
        )
        await machine.kill()
        raise
    snapshot = await driver.snapshot(machine, folder / "state")
    loaded = await driver.open_snapshot(snapshot)
    first = await loaded.restore(machine_spec(image, folder))
    await first.kill()
    yield Template(snapshot, loaded, driver)
    await loaded.close()


@pytest.fixture(scope="session")
def settings(kind: Kind, data: Path) -> Settings:
    """Settings that have an engine take the driver.

    Nothing is started ahead of time: it would come and go between tests.
    """
    pool = PoolSettings(standby=0)
    vmm = replace(kind.settings(), boot_timeout_s=600, clone_timeout_s=300)  # which a busy machine keeps
    return Settings(data=data, vmm=vmm, capacity=CapacitySettings(machines=60), pool=pool)


@pytest_asyncio.fixture(scope="session")
async def engine(driver: Driver, settings: Settings) -> AsyncIterator[Engine]:
    """One engine for all tests that only run programs."""
    async with Engine(settings) as running:
        await running.template("python")
        yield running


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Every test must leave the processes, control groups, folders, mounts and descriptors it found."""
    for shared in ("template", "engine", "clone"):
        if shared in request.fixturenames:
            request.getfixturevalue(shared)
    data = request.getfixturevalue("data") if "data" in request.fixturenames else None
    before = traces.look(data)
    yield
    left = await traces.settled(before, data)
    if left:
        await traces.clear()  # so that the next test is not blamed for it
    assert not left, f"left behind: {left}"


@pytest_asyncio.fixture(scope="module")
async def clone(
    template: Template, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Machine]:
    """A clone that lives as long as the module of its tests."""
    machine = await template.loaded.restore(machine_spec(image, tmp_path_factory.mktemp("clone")))
    async with talk(machine) as client:
        await separate(client, machine)
    yield machine
    await machine.kill()
