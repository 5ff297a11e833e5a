"""An engine from its start to its end, on a stand-in for a driver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Settings
from emberbox.config import CompileSettings, PoolSettings
from emberbox.errors import EngineClosed, InvalidInput
from emberbox.images import Image
from emberbox.vmm.base import DriverReport, MachineState
from tests.patience import PATIENCE_S
from tests.unit.sandbox.stand_ins import StandIn

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.images import ImageStore
    from emberbox.runtimes import Runtime

REPORT = DriverReport(usable=True, accelerator="tcg", version="1", reason="a stand-in")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    (tmp_path / "images/locks").mkdir(parents=True)
    files = {name: tmp_path / name for name in ("kernel", "initramfs", "rootfs")}
    for file in files.values():
        file.touch()
    image = Image(runtime="python", key="abc", sizes={}, digests={}, **files)

    async def choose(*_: VmmSettings | object) -> tuple[StandIn, DriverReport]:
        return made, REPORT

    async def nothing(*_: object, **__: object) -> bool:
        return False

    def find(_: ImageStore, runtime: Runtime) -> Image:
        return image

    monkeypatch.setattr("emberbox.sandbox.parts.choose_driver", choose)
    monkeypatch.setattr("emberbox.images.ImageStore.prepare_kernel", nothing)
    monkeypatch.setattr("emberbox.images.ImageStore.find", find)
    monkeypatch.setattr("emberbox.sandbox.templates.store.part", nothing)
    monkeypatch.setattr("emberbox.sandbox.templates.store.warm", nothing)
    monkeypatch.setattr("emberbox.sandbox.templates.pool.prime", nothing)
    return made


@pytest.fixture
def engine(tmp_path: Path, driver: StandIn) -> Engine:
    return Engine(Settings(data=tmp_path, pool=PoolSettings(minimum=0, maximum=2, standby=0)))


async def test_a_sandbox_is_a_clone_of_its_template(engine: Engine) -> None:
    async with engine, engine.sandbox("python") as sandbox:
        assert (sandbox._live.metrics.source, sandbox.state, sandbox.packages) == ("clone", "running", None)
        assert engine.machines >= 1
        template = await engine.template("python")
        assert [pool.template for pool in engine.pools()] == [template.record.key]


async def test_a_template_is_built_once_for_each_size(engine: Engine, tmp_path: Path) -> None:
    async with engine:
        for memory_mib in (256, 256, 512):
            await engine.template("python", memory_mib=memory_mib)
    assert len(list(tmp_path.glob("templates/*/template.json"))) == 2
    assert list(tmp_path.glob("templates/building-*")) == []


async def test_a_warm_pool_hands_out_what_is_ready(engine: Engine) -> None:
    async with engine:
        assert await engine.warm_pool("python", 1, timeout_s=PATIENCE_S)
        async with engine.sandbox("python") as sandbox:
            assert sandbox._live.metrics.source == "pool"
        with pytest.raises(InvalidInput, match="at most 2"):
            await engine.warm_pool("python", 3)


async def test_what_is_cold_needs_no_template(engine: Engine, tmp_path: Path) -> None:
    async with engine, engine.sandbox("python", cold=True) as sandbox:
        assert sandbox._live.metrics.source == "cold"
    assert not (tmp_path / "templates").exists()


async def test_the_end_takes_all_along(engine: Engine, driver: StandIn, tmp_path: Path) -> None:
    with pytest.raises(EngineClosed, match="not started"):
        _ = engine.driver
    async with engine:
        await engine.warm_pool("python", 1, timeout_s=PATIENCE_S)
        left = await engine.open_sandbox("python", cold=True)
    assert left.closed
    assert {machine.state for machine in driver.made} == {MachineState.KILLED}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["0.lock"]
    assert engine.driver.reason == REPORT.reason
    with pytest.raises(EngineClosed, match="not running"):
        await engine.open_sandbox("python")
    await engine.close()


async def test_an_engine_that_ends_while_a_template_is_made_clones_nothing_from_it(
    engine: Engine, driver: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    warming, ended = asyncio.Event(), asyncio.Event()

    async def warm(*_: object) -> bool:
        warming.set()
        await ended.wait()
        return False

    monkeypatch.setattr("emberbox.sandbox.templates.store.warm", warm)
    async with engine:
        opening = asyncio.create_task(engine.open_sandbox("python"))
        await warming.wait()
    ended.set()
    with pytest.raises(EngineClosed, match="not running"):
        await opening
    assert engine.pools() == []
    assert [machine.state for machine in driver.made] == [MachineState.KILLED]


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"memory_mib": 8}, "memory"), ({"vcpus": 99}, "vcpus"), ({"disk_mib": 9999}, "disk")],
)
async def test_sizes_that_cannot_be_are_refused(
    engine: Engine, options: dict[str, int], problem: str, driver: StandIn
) -> None:
    async with engine:
        with pytest.raises(InvalidInput, match=problem):
            await engine.open_sandbox("python", **options)  # type: ignore[arg-type]
    assert driver.made == []


def test_without_room_no_compiled_program_is_kept(tmp_path: Path) -> None:
    for cache_mib in (0, 64):
        engine = Engine(Settings(data=tmp_path, compile=CompileSettings(cache_mib=cache_mib)))
        assert (engine._programs(engine.runtimes.get("c"), None) is None) == (cache_mib == 0)
        assert engine._programs(engine.runtimes.get("python"), None) is None
