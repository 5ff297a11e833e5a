"""An engine from its start to its end, on a stand-in for a driver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Settings
from emberbox.config import CapacitySettings, CompileSettings, PoolSettings
from emberbox.errors import CapacityExhausted, EngineClosed, ImageBuildFailed, InvalidInput
from emberbox.images import Image, SilentProgress
from emberbox.sandbox.templates.stored import in_use, prune_templates, stored_templates
from emberbox.vmm.base import DriverReport, MachineState
from tests.patience import PATIENCE_S, until
from tests.unit.sandbox.stand_ins import StandIn

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.images import ImageStore
    from emberbox.runtimes import Runtime

REPORT = DriverReport(usable=True, accelerator="tcg", version="1", reason="a stand-in")


class Told(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str, fraction: float | None) -> None:
        self.steps.append(name)


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


async def test_sizes_between_two_steps_share_a_template(engine: Engine, tmp_path: Path) -> None:
    async with engine:
        for memory_mib, vcpus in ((385, None), (500, 1), (512, 1)):
            template = await engine.template("python", memory_mib=memory_mib, vcpus=vcpus)
            assert (template.size.memory_mib, template.size.vcpus) == (512, 1)
        assert (await engine.template("python", vcpus=3)).size.vcpus == 4
    assert len(list(tmp_path.glob("templates/*/template.json"))) == 2


async def test_a_template_is_charged_to_whom_it_was_made_for(engine: Engine, tmp_path: Path) -> None:
    async with engine:
        for scope in ("key_1", "key_2"):
            async with engine.sandbox("python", memory_mib=512, scope=scope):
                pass
        async with engine.sandbox("python"):
            pass
    records = stored_templates(tmp_path / "templates")
    assert {record.memory_mib: record.scope for record in records} == {512: "key_1", 256: None}


async def test_those_for_whom_templates_are_made_take_turns(
    driver: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    released, warming = asyncio.Event(), [0]

    async def warm(*_: object) -> bool:
        warming.append(warming[-1] + 1)
        await released.wait()
        warming.append(warming[-1] - 1)
        return False

    async def run(memory_mib: int, scope: str, news: Told) -> None:
        async with few.sandbox("python", memory_mib=memory_mib, scope=scope, progress=news):
            pass

    monkeypatch.setattr("emberbox.sandbox.templates.store.warm", warm)
    few = Engine(Settings(data=tmp_path, pool=PoolSettings(minimum=0, maximum=0, standby=0)))
    many, other = Told(), Told()
    async with few, asyncio.TaskGroup() as runs:
        for memory_mib in (128, 192, 256, 384):
            runs.create_task(run(memory_mib, "team_1", many))
        await until(lambda: "warming the template" in many.steps)
        runs.create_task(run(512, "team_2", other))
        await until(lambda: "warming the template" in other.steps)
        assert many.steps.count("warming the template") == 1
        released.set()
    assert max(warming) == 2


async def test_those_for_whom_images_are_built_take_turns(
    driver: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    begun: list[Told] = []
    released = asyncio.Event()

    async def build(store: ImageStore, runtime: Runtime, progress: Told) -> Image:
        begun.append(progress)
        await released.wait()
        raise ImageBuildFailed("there is no mirror")

    async def run(runtime: str, scope: str, news: Told) -> None:
        with pytest.raises(ImageBuildFailed):
            await few.open_sandbox(runtime, scope=scope, progress=news)

    monkeypatch.setattr("emberbox.images.ImageStore.find", lambda store, runtime: None)
    monkeypatch.setattr("emberbox.images.ImageStore.build", build)
    few = Engine(Settings(data=tmp_path, pool=PoolSettings(minimum=0, maximum=0, standby=0)))
    many, other = Told(), Told()
    async with few, asyncio.TaskGroup() as runs:
        for runtime in ("ruby", "lua", "go"):
            runs.create_task(run(runtime, "team_1", many))
        await until(lambda: bool(begun))
        runs.create_task(run("perl", "team_2", other))
        await until(lambda: other in begun)
        assert begun == [many, other]
        released.set()
    assert begun.count(many) == 3


async def test_callers_are_told_what_is_made(engine: Engine) -> None:
    news = Told()
    async with engine:
        async with engine.sandbox("python", memory_mib=500, vcpus=2, progress=news):
            pass
        assert news.steps[0] == "making a template of python at 512 MiB and 2 virtual CPUs"
        again = Told()
        async with engine.sandbox("python", memory_mib=512, vcpus=2, progress=again):
            pass
        assert again.steps == []


async def test_a_template_in_use_is_on_disk_until_its_end(engine: Engine, tmp_path: Path) -> None:
    root = tmp_path / "templates"
    async with engine:
        template = await engine.template("python")
        assert in_use(root, template.record.key)
        assert prune_templates(root, keep_images=()) == []
    assert [record.key for record in prune_templates(root, keep_images=())] == [template.record.key]
    assert list(root.iterdir()) == []


async def test_the_memory_of_machines_is_bounded_together(tmp_path: Path, driver: StandIn) -> None:
    capacity = CapacitySettings(memory_mib=2 * (256 + 64), queue_timeout_s=0.05)
    async with Engine(Settings(data=tmp_path, capacity=capacity)) as engine:
        async with engine.sandbox("python"), engine.sandbox("python"):
            with pytest.raises(CapacityExhausted, match=r"640 of the 640 MiB .* one more needs 320"):
                await engine.open_sandbox("python")
        async with engine.sandbox("python"):
            pass
        with pytest.raises(InvalidInput, match=r"needs 1,088 MiB never fits"):
            await engine.open_sandbox("python", memory_mib=1000)


async def test_ready_machines_give_way_to_callers(tmp_path: Path, driver: StandIn) -> None:
    settings = Settings(
        data=tmp_path,
        capacity=CapacitySettings(memory_mib=256 + 512 + 64, queue_timeout_s=PATIENCE_S),
        pool=PoolSettings(minimum=1, maximum=1, standby=0),
    )
    async with Engine(settings) as engine:
        assert await engine.warm_pool("python", 1, timeout_s=PATIENCE_S)
        async with engine.sandbox("python", memory_mib=512, cold=True):
            (pool,) = engine.pools()
            assert (pool.ready, pool.failures) == (0, 0)
        await until(lambda: engine.pools()[0].ready == 1)


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
