"""Images are compared with a release's lists by apt itself, from mirrors in folders, and renewed by them."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from emberbox.cli import context
from emberbox.cli.main import main
from emberbox.errors import ImageBuildFailed
from emberbox.images import ImageStore, SilentProgress
from emberbox.images.debian.newer import PackageChange
from emberbox.images.debian.packages import Package
from emberbox.images.debian.suites import Suite
from emberbox.images.rootfs.build import RootFilesystem
from emberbox.images.updates import KERNEL, look_for_updates, renew
from tests.integration.images.test_archive import Mirror
from tests.unit.images.test_store import Builders, Inputs, Toy, builders, make_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emberbox.images import Image
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.recipe import BuildableRuntime

__all__ = ["builders"]

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "apt-cache", "dpkg-deb"))), reason="needs apt and dpkg"
)
KERNEL_PACKAGE = "linux-image-6.1.0-{abi}-cloud-amd64"


class Release:
    """A release whose mirror and security archive are folders, and what installing it gives.

    Args:
        folder: An empty folder.
        builders: Stand-ins for what installs packages; they install the newest that is here.
    """

    def __init__(self, folder: Path, builders: Builders) -> None:
        self.mirrors = {"": Mirror(folder / "main"), "-security": Mirror(folder / "security")}
        self.newest: dict[str, str] = {}
        self.builders = builders

    @property
    def listing(self) -> str:
        return "".join(mirror.listing(f"bookworm{pocket}") for pocket, mirror in self.mirrors.items())

    def has(self, package: str, version: str, *, security: bool = False, depends: str | None = None) -> None:
        self.mirrors["-security" if security else ""].add(package, version, depends)
        self.newest[package] = version
        for pocket, mirror in self.mirrors.items():
            mirror.publish(f"bookworm{pocket}")

    def has_kernel(self, abi: int, version: str, *, security: bool = False) -> None:
        name = KERNEL_PACKAGE.format(abi=abi)
        self.has(name, version, security=security)
        self.has("linux-image-cloud-amd64", version, security=security, depends=f"{name} (= {version})")
        self.builders.kernel_version = version

    async def install(
        self, runtime: BuildableRuntime, architecture: str, folder: Path, progress: Progress
    ) -> RootFilesystem:
        self.builders.calls.append("rootfs")
        packages = tuple(
            Package(name, self.newest[name], "all", (), ()) for name in sorted(runtime.image.packages)
        )
        image = folder / "rootfs.ext4"
        image.write_text(f"root of {packages}")
        return RootFilesystem(image, packages, {"npm": {"left-pad": "1.3.0"}})


@pytest.fixture
def release(tmp_path: Path, builders: Builders, monkeypatch: pytest.MonkeyPatch) -> Release:
    made = Release(tmp_path, builders)
    for name in ("toy", "tool"):
        made.has(name, "1.0")
    made.has_kernel(1, "6.1-1")

    async def find(name: str, _: Path) -> Suite:
        return Suite(name=name, listing=made.listing)

    monkeypatch.setattr("emberbox.images.build.build_rootfs", made.install)
    monkeypatch.setattr("emberbox.images.debian.archive.find_suite", find)
    builders.calls.clear()
    return made


OTHER = Toy(name="other", fingerprint="f2", image=Inputs(packages=("tool",)))


async def changes_of(images: ImageStore, *runtimes: BuildableRuntime) -> dict[str, tuple[PackageChange, ...]]:
    found = await look_for_updates(images, runtimes, SilentProgress())
    return {update.runtime.name: update.changes for update in found}


async def renewed(images: ImageStore, *runtimes: BuildableRuntime) -> list[Image]:
    found = await look_for_updates(images, runtimes, SilentProgress())
    made = [await renew(images, update, _nothing, SilentProgress()) for update in found if update.changes]
    return [update.image for update in made if update.image is not None]


async def _nothing(_: Image) -> None:
    pass


async def test_what_is_newer_is_told_and_nothing_is_built(tmp_path: Path, release: Release) -> None:
    images = make_store(tmp_path)
    assert await changes_of(images, Toy()) == {}, "there is no image yet"
    image = await images.build(Toy())
    release.builders.calls.clear()
    assert await changes_of(images, Toy(), OTHER) == {"toy": ()}
    release.has("toy", "1.0+deb12u1", security=True)
    release.has("tool", "1.1")
    assert await changes_of(images, Toy()) == {"toy": (PackageChange("toy", "1.0", "1.0+deb12u1", True),)}
    assert release.builders.calls == [] and images.find(Toy()) == image


async def test_only_what_is_behind_is_built_anew(tmp_path: Path, release: Release) -> None:
    images = make_store(tmp_path)
    old, other = await images.build(Toy()), await images.build(OTHER)
    release.has("toy", "1.1")
    release.builders.calls.clear()
    (new,) = await renewed(images, Toy(), OTHER)
    assert release.builders.calls == ["rootfs"]
    assert images.find(Toy()) == new and new.key != old.key and old.rootfs.exists()
    assert images.find(OTHER) == other
    assert images.inspect("toy").packages == {"toy": "1.1"}
    release.builders.calls.clear()
    assert await renewed(images, Toy(), OTHER) == [] and release.builders.calls == []


async def test_a_kernel_is_fetched_once_for_all_images_of_a_release(tmp_path: Path, release: Release) -> None:
    images = make_store(tmp_path)
    for runtime in (Toy(), OTHER):
        await images.build(runtime)
    release.has_kernel(2, "6.1-2", security=True)
    change = PackageChange(KERNEL, "6.1-1", "6.1-2", security=True)
    assert await changes_of(images, Toy(), OTHER) == {"toy": (change,), "other": (change,)}
    release.builders.calls.clear()
    assert len(await renewed(images, Toy(), OTHER)) == 2
    assert release.builders.calls == ["kernel"], "the root file systems are up to date"
    assert images.inspect("other").inputs["kernel_version"] == "6.1-2"


async def test_all_that_changed_is_told_afterwards(tmp_path: Path, release: Release) -> None:
    images = make_store(tmp_path)
    await images.build(Toy())
    release.has("toy", "1.1", security=True)
    (update,) = await look_for_updates(images, [Toy()], SilentProgress())
    release.has("toy", "1.2")
    done = await renew(images, update, _nothing, SilentProgress())
    assert done.changes == (PackageChange("toy", "1.0", "1.2", security=True),)


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code, and what it printed."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def command(
    tmp_path: Path,
    release: Release,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ran]:
    """Run `emberbox images …` with the toys as its runtimes and on their store."""
    images = make_store(tmp_path)

    class Catalog(dict[str, Toy]):
        def __iter__(self) -> Iterator[Toy]:  # type: ignore[override]
            return iter(self.values())

    catalog = Catalog(toy=Toy(), other=OTHER)
    monkeypatch.setattr(Catalog, "get", lambda self, name: self[name])
    monkeypatch.setenv("EMBERBOX_DATA", str(tmp_path))
    monkeypatch.setattr(context, "catalog", lambda _: catalog)
    monkeypatch.setattr(context, "image_store", lambda _: images)
    for runtime in catalog:
        asyncio.run(images.build(runtime))

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(["images", *words])
        return Ran(code, *capsys.readouterr())

    return run


def test_the_command_tells_old_and_new_versions_and_removes_what_nobody_uses(
    command: Callable[..., Ran], release: Release, tmp_path: Path
) -> None:
    assert command("update").stdout == "other: up to date\ntoy: up to date\n"
    release.has("toy", "1.0+deb12u1", security=True)
    checked = command("update", "--check")
    assert checked.code == 1
    assert "toy: 1 packages are newer\n  toy 1.0 → 1.0+deb12u1 (security)\n" in checked.stdout
    (old,) = (tmp_path / "images/images/toy").iterdir()
    done = command("update")
    assert done.code == 0, done
    assert f"toy: {old.stem[:12]} → " in done.stdout and "  toy 1.0 → 1.0+deb12u1 (security)\n" in done.stdout
    (new,) = (tmp_path / "images/images/toy").iterdir()
    assert new != old
    assert command("update", "--check").code == 0
    assert command("update", "--check", "toy").stdout == "toy: up to date\n"


def test_the_command_gives_all_of_it_to_programs(command: Callable[..., Ran], release: Release) -> None:
    release.has("tool", "1.1")
    (other, toy) = json.loads(command("update", "--json").stdout)
    assert other["changes"] == [{"package": "tool", "old": "1.0", "new": "1.1", "security": False}]
    assert (toy["changes"], toy["new_key"], toy["error"]) == ([], None, None)
    shown = json.loads(command("inspect", "other").stdout)
    assert shown["key"] == other["new_key"]
    assert (shown["packages"], shown["libraries"]) == ({"tool": "1.1"}, {"npm": {"left-pad": "1.3.0"}})
    assert shown["inputs"]["kernel_version"] == "6.1-1"


def test_one_that_fails_stays_and_stops_no_other(
    command: Callable[..., Ran], release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    release.has("toy", "1.1")
    release.has("tool", "1.1")
    install = release.install

    async def fail_one(runtime: BuildableRuntime, *rest: str | Path | Progress) -> RootFilesystem:
        if runtime.name == "other":
            raise ImageBuildFailed("the mirror is away")
        return await install(runtime, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("emberbox.images.build.build_rootfs", fail_one)
    done = command("update")
    assert done.code == 70
    assert "other: not renewed, the old image stays: the mirror is away" in done.stderr
    assert "  toy 1.0 → 1.1" in done.stdout
    assert json.loads(command("inspect", "other").stdout)["packages"] == {"tool": "1.0"}
