from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import (
    DataFolderBusy,
    ImageBuildFailed,
    ImageCorrupt,
    ImageError,
    NoSpace,
    RequirementMissing,
)
from emberbox.images import ImageStore, build, store
from emberbox.images.debian.packages import Package
from emberbox.images.kernels.kernel import Kernel
from emberbox.images.kernels.module import Module
from emberbox.images.rootfs.build import RootFilesystem

if TYPE_CHECKING:
    from emberbox.images import Image
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.recipe import BuildableRuntime


@dataclass(frozen=True)
class Inputs:
    suite: str = "bookworm"
    packages: tuple[str, ...] = ("toy",)
    files: tuple[Path, ...] = ()
    remove: tuple[str, ...] = ()
    imported: str | None = None
    user: str | None = None


@dataclass(frozen=True)
class Toy:
    name: str = "toy"
    manifest: Path = field(default_factory=lambda: Path("runtime.toml"))
    fingerprint: str = "f1"
    image: Inputs = field(default_factory=Inputs)


class Builders:
    """Stand-ins for what downloads; they count their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.suites: list[str] = []
        self.kernel_version = "6.1-1"
        self.failure: BaseException | None = None
        self.delay_s = 0.0
        self.in_rootfs = asyncio.Event()

    async def fetch_kernel(self, suite: str, architecture: str, folder: Path, progress: Progress) -> Kernel:
        self.calls.append("kernel")
        self.suites.append(suite)
        vmlinux = folder / "vmlinux"
        vmlinux.write_text(f"kernel {self.kernel_version}")
        modules = (Module("virtio", b"module", ()), Module("socket", b"more", (), vsock_only=True))
        return Kernel(package="linux", version=self.kernel_version, vmlinux=vmlinux, modules=modules)

    async def build_rootfs(
        self, runtime: BuildableRuntime, architecture: str, folder: Path, progress: Progress
    ) -> RootFilesystem:
        self.calls.append("rootfs")
        self.suites.append(runtime.image.suite)
        self.in_rootfs.set()
        (folder / "partial").write_text("x")
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        image = folder / "rootfs.ext4"
        image.write_text(
            f"root of {runtime.image.packages} in {runtime.image.suite}, build {len(self.calls)}"
        )
        return RootFilesystem(image, (Package("toy", "1", "amd64", (), ()),))


@pytest.fixture
def builders(monkeypatch: pytest.MonkeyPatch) -> Builders:
    builders = Builders()
    monkeypatch.setattr(build, "fetch_kernel", builders.fetch_kernel)
    monkeypatch.setattr(build, "build_rootfs", builders.build_rootfs)
    monkeypatch.setattr(store, "check_requirements", lambda: None)
    monkeypatch.setattr(store, "BUILD_SPACE", 1)
    return builders


def make_store(tmp_path: Path) -> ImageStore:
    agent = tmp_path / "agent"
    if not agent.exists():
        agent.write_bytes(b"agent one")
    return ImageStore(tmp_path / "images", architecture="amd64", agent=agent)


def building(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "images" / "building").iterdir())


async def test_build_then_find(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    assert images.find(Toy()) is None and images.list() == []
    image = await images.build(Toy())
    assert builders.calls == ["kernel", "rootfs"]
    assert image.kernel.read_text() == "kernel 6.1-1" and image.rootfs.read_text().startswith(
        "root of ('toy',)"
    )
    assert (
        b"agent one" in image.initramfs.read_bytes() and b"modules/virtio.ko" in image.initramfs.read_bytes()
    )
    archive = image.initramfs.read_bytes()
    assert b"virtio.ko\n" in archive and b"socket.ko\n" in archive and b"virtio.ko\nsocket.ko" not in archive
    assert images.find(Toy()) == make_store(tmp_path).find(Toy()) == image
    assert await images.build(Toy()) == image and len(builders.calls) == 2
    images.verify(image)
    assert building(tmp_path) == []


async def test_other_modules_build_the_kernel_anew_and_nothing_else(
    tmp_path: Path, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await make_store(tmp_path).build(Toy())
    for place in (build, store):
        monkeypatch.setattr(place, "modules_digest", lambda: "other modules")
    assert make_store(tmp_path).find(Toy()) is None
    after = await make_store(tmp_path).build(Toy())
    assert builders.calls == ["kernel", "rootfs", "kernel"]
    assert (after.rootfs, after.kernel) == (before.rootfs, before.kernel) and after.key != before.key


async def test_a_release_has_a_kernel_and_packages_of_its_own_and_the_host_has_no_say(
    tmp_path: Path, builders: Builders
) -> None:
    images = make_store(tmp_path)
    first = await images.build(Toy())
    other = Toy(image=Inputs(suite="trixie"))
    assert images.find(other) is None
    builders.kernel_version = "6.12-1"
    second = await images.build(other)
    assert builders.suites == ["bookworm", "bookworm", "trixie", "trixie"]
    assert (first.kernel.read_text(), second.kernel.read_text()) == ("kernel 6.1-1", "kernel 6.12-1")
    assert "in trixie" in second.rootfs.read_text() and first.key != second.key
    assert images.find(Toy()) == first and images.find(other) == second
    assert {stored.inputs["suite"] for stored in images.list()} == {"bookworm", "trixie"}


async def test_files_are_readable_to_all_and_unchangeable(tmp_path: Path, builders: Builders) -> None:
    previous = os.umask(0o077)
    try:
        image = await make_store(tmp_path).build(Toy())
    finally:
        os.umask(previous)
    for path in (image.kernel, image.initramfs, image.rootfs):
        assert path.stat().st_mode & 0o777 == 0o444
        for folder in path.relative_to(tmp_path).parents[:-1]:
            assert (tmp_path / folder).stat().st_mode & 0o777 == 0o755


async def test_a_new_agent_rebuilds_only_the_initramfs(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    old = await images.build(Toy())
    (tmp_path / "agent").write_bytes(b"agent two, longer")
    assert images.find(Toy()) is None
    new = await images.build(Toy())
    assert builders.calls == ["kernel", "rootfs"]
    assert (
        (new.kernel, new.rootfs) == (old.kernel, old.rootfs)
        and new.initramfs != old.initramfs
        and new.key != old.key
    )


async def test_a_changed_runtime_gets_a_new_image_and_rebuilds_only_what_it_must(
    tmp_path: Path, builders: Builders
) -> None:
    images = make_store(tmp_path)
    old = await images.build(Toy())
    new = await images.build(Toy(fingerprint="f2"))
    assert new.key != old.key and new.rootfs == old.rootfs and builders.calls == ["kernel", "rootfs"]
    await images.build(Toy(fingerprint="f3", image=Inputs(packages=("toy", "more"))))
    assert builders.calls == ["kernel", "rootfs", "rootfs"]
    assert images.find(Toy()) == old


async def test_force_takes_the_newest_of_everything(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    old = await images.build(Toy())
    builders.kernel_version = "6.1-2"
    new = await images.build(Toy(), force=True)
    assert builders.calls == ["kernel", "rootfs"] * 2
    assert new.key != old.key and images.find(Toy()) == new
    assert [stored.newest for stored in images.list()] == [True, False]
    assert images.inspect("toy").inputs["kernel_version"] == "6.1-2"
    assert images.inspect("toy", old.key[:8]).image == old
    assert images.inspect("toy").packages == {"toy": "1"}
    with pytest.raises(ImageError, match="emberbox images build other"):
        images.inspect("other")


async def test_to_find_takes_a_few_small_files_and_no_tool(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    await images.build(Toy())
    images.find(Toy())
    seen: list[tuple[str, object]] | None = None

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if seen is not None:
            seen.append((event, arguments[0] if arguments else None))

    sys.addaudithook(watch)  # it cannot be removed
    seen = []
    assert images.find(Toy()) is not None
    found, seen = seen, None
    assert not {event for event, _ in found} & {
        "subprocess.Popen",
        "os.fork",
        "os.exec",
        "os.posix_spawn",
        "os.system",
    }
    opened = [Path(str(path)) for event, path in found if event == "open"]
    assert 0 < len(opened) < 30
    assert sum(path.stat().st_size for path in opened if path.is_file()) < 1 << 20


async def test_two_builders_at_once_build_once(tmp_path: Path, builders: Builders) -> None:
    builders.delay_s = 0.2
    one, two = await asyncio.gather(make_store(tmp_path).build(Toy()), make_store(tmp_path).build(Toy()))
    assert one.rootfs == two.rootfs and builders.calls.count("rootfs") == 1


@pytest.mark.parametrize(
    "failure", [ImageBuildFailed("broken"), OSError(28, "No space left on device"), RuntimeError("bug")]
)
async def test_a_failed_build_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, builders: Builders, failure: Exception
) -> None:
    images = make_store(tmp_path)
    builders.failure = failure
    with pytest.raises(NoSpace if isinstance(failure, OSError) else type(failure)):
        await images.build(Toy())
    assert building(tmp_path) == [] and images.find(Toy()) is None
    builders.failure = None
    image = await images.build(Toy())
    assert images.find(Toy()) == image
    assert builders.calls == ["kernel", "rootfs", "rootfs"]


async def test_a_cancelled_build_leaves_nothing(tmp_path: Path, builders: Builders) -> None:
    builders.delay_s = 30
    task = asyncio.create_task(make_store(tmp_path).build(Toy()))
    await builders.in_rootfs.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert building(tmp_path) == []


async def test_too_little_space_is_told_before_anything_is_done(
    tmp_path: Path, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUILD_SPACE", 1 << 60)
    with pytest.raises(NoSpace, match="MiB are free"):
        await make_store(tmp_path).build(Toy())
    assert builders.calls == []


def _build_for_ever(root: Path, calls: multiprocessing.SimpleQueue[str]) -> None:
    async def slow_rootfs(
        runtime: BuildableRuntime, architecture: str, folder: Path, progress: Progress
    ) -> RootFilesystem:
        (folder / "half").write_text("half")
        calls.put("building")
        await asyncio.sleep(3600)
        raise AssertionError

    vars(build)["build_rootfs"] = slow_rootfs
    asyncio.run(make_store(root).build(Toy()))


async def test_a_killed_build_is_cleaned_up_by_the_next(tmp_path: Path, builders: Builders) -> None:
    context = multiprocessing.get_context("fork")
    calls = context.SimpleQueue()
    process = context.Process(target=_build_in_fork, args=(tmp_path, calls))
    process.start()
    assert await asyncio.to_thread(calls.get) == "building"
    images = make_store(tmp_path)
    [left] = building(tmp_path)
    with pytest.raises(DataFolderBusy, match="building an image"):
        images.prune()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.join)
    assert left.exists()
    image = await images.build(Toy())
    assert building(tmp_path) == [] and images.find(Toy()) == image


def _build_in_fork(root: Path, calls: multiprocessing.SimpleQueue[str]) -> None:
    # The test's own event loop is copied into the child, where asyncio must not see it running.
    asyncio.events._set_running_loop(None)
    _build_for_ever(root, calls)


async def test_prune_keeps_what_is_newest_or_leased(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    first = await images.build(Toy())
    second = await images.build(Toy(), force=True)
    third = await images.build(Toy(), force=True)
    with images.lease(first):
        report = images.prune(dry_run=True)
        assert report.images == (second.key,) and report.bytes_freed > 0 and second.rootfs.exists()
        assert images.prune().images == (second.key,)
    assert first.rootfs.exists() and not second.rootfs.exists()
    assert images.prune().images == (first.key,)
    assert not first.rootfs.exists() and images.find(Toy()) == third
    images.verify(third)
    with pytest.raises(ImageCorrupt, match="is gone"), images.lease(first):
        pass
    (tmp_path / "agent").write_bytes(b"agent two, longer")
    calls = list(builders.calls)
    await images.build(Toy())
    assert builders.calls == calls, "the kernel's modules must outlive a prune"


def test_prune_of_nothing(tmp_path: Path) -> None:
    assert make_store(tmp_path).prune().bytes_freed == 0


async def test_damage_is_found_and_mended(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    image = await images.build(Toy())
    image.rootfs.chmod(0o644)
    content = image.rootfs.read_text()
    image.rootfs.write_text(content.upper())
    with pytest.raises(ImageCorrupt, match=r"rootfs\.ext4 is not what was stored"):
        images.verify(image)
    image.rootfs.write_text("short")
    assert images.find(Toy()) is None
    assert (await images.build(Toy())).rootfs.exists()
    shutil.rmtree(image.kernel.parent)
    assert images.find(Toy()) is None
    with pytest.raises(ImageCorrupt, match="cannot be read"):
        images.verify(image)
    await images.build(Toy())
    images.verify(images.inspect("toy").image)


async def test_an_unreadable_record_is_as_good_as_none(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    await images.build(Toy())
    for record in (tmp_path / "images").glob("*/*/*.json"):
        record.write_text("{")
    assert images.find(Toy()) is None and images.list() == []
    assert (await images.build(Toy())).rootfs.exists()


async def test_without_an_agent_the_mending_command_is_told(tmp_path: Path, builders: Builders) -> None:
    images = ImageStore(tmp_path / "images", architecture="amd64", agent=tmp_path / "none")
    with pytest.raises(RequirementMissing, match="hatch_build"):
        images.find(Toy())
    with pytest.raises(RequirementMissing, match="hatch_build"):
        await images.build(Toy())
    assert not (tmp_path / "images").exists()


async def test_a_renewed_image_is_found_only_once_it_is_ready(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    old = await images.build(Toy())
    builders.calls.clear()
    seen: list[str] = []

    async def look(image: Image) -> None:
        seen.append(image.key)
        assert image.rootfs.exists() and images.find(Toy()) == old

    new = await images.renew(Toy(), lambda part: part.kind != "rootfs", look)
    assert builders.calls == ["rootfs"], "the kernel is up to date"
    assert seen == [new.key] and new.key != old.key and new.kernel == old.kernel
    assert images.find(Toy()) == new and old.rootfs.exists()


async def test_an_image_that_does_not_get_ready_takes_no_place(tmp_path: Path, builders: Builders) -> None:
    images = make_store(tmp_path)
    old = await images.build(Toy())

    async def fail(_: Image) -> None:
        raise ImageBuildFailed("its template does not boot")

    with pytest.raises(ImageBuildFailed, match="does not boot"):
        await images.renew(Toy(), lambda part: part.kind != "rootfs", fail)
    assert images.find(Toy()) == old
    images.verify(old)


async def test_an_image_that_was_superseded_goes_when_nobody_leases_it_and_no_other_does(
    tmp_path: Path, builders: Builders
) -> None:
    images = make_store(tmp_path)
    other = await images.build(Toy(image=Inputs(suite="trixie")))
    old = await images.build(Toy())
    builders.kernel_version = "6.1-2"
    new = await images.renew(Toy(), lambda _: False, _nothing)
    with images.lease(old):
        assert images.remove_superseded().images == ()
    assert images.remove_superseded().images == (old.key,)
    assert not old.rootfs.exists() and new.rootfs.exists()
    assert old.kernel.exists(), "the other release has the same"
    images.verify(other)
    assert images.remove_superseded().images == ()


async def _nothing(_: Image) -> None:
    pass
