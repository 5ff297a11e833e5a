"""`emberbox images import` without a boot: skopeo, registry and file systems are real, the kernel is not."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from emberbox.cli.local.images_import import import_runtime
from emberbox.errors import EmberboxError, ImageImportFailed, InvalidInput, NoSpace
from emberbox.images import ImageStore, build, store
from emberbox.images.kernels.kernel import Kernel
from emberbox.images.kernels.module import Module
from emberbox.images.oci import Access, ImportOptions, Reference, RuntimeText, importer
from emberbox.runtimes import load
from tests.integration.images.registry import PASSWORD, Registry, credentials, program, registry
from tests.oci.layouts import Layout, Made, docker_archive, entry, layer
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emberbox.images import Image, Progress
    from emberbox.images.oci import ImportedRoot

OPEN = Access(insecure=True)
BASE = layer(
    entry("etc/passwd", b"app:x:7:8::/home/app:\n"),
    entry("bin/app", b"first", uid=7, gid=8),
    entry("gone", b"x"),
)
ABOVE = layer(entry(".wh.gone", b""), entry("data", b"d" * 5000))
RUN = {"Entrypoint": ["/bin/app"], "User": "app", "Env": ["A=1"]}
APP = Made([BASE, ABOVE], RUN)


class Steps:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str, fraction: float | None) -> None:
        self.steps.append(name)

    def log(self, line: str) -> None:
        """Do nothing."""


class Bench:
    """A data folder, and the import into it."""

    def __init__(self, folder: Path) -> None:
        (folder / "agent").write_bytes(b"agent")
        self.folder = folder
        self.store = ImageStore(folder / "images", architecture="amd64", agent=folder / "agent")
        self.layout = Layout(folder / "layout")
        self.steps = Steps()

    async def take(
        self, reference: str, access: Access = OPEN, *, user: str | None = None, name: str = "app"
    ) -> tuple[ImportedRoot, Image]:
        self.steps = Steps()
        options = ImportOptions(architecture="amd64", access=access, user=user)
        parsed, text = Reference.parse(reference), RuntimeText(name=name)
        return await import_runtime(self.store, parsed, options, text, self.folder / "runtimes", self.steps)

    async def refused(self, reference: str, access: Access = OPEN) -> str:
        """Import what cannot be; returns the message after a look at what is left."""
        with pytest.raises(EmberboxError) as caught:
            await self.take(reference, access)
        assert isinstance(caught.value, ImageImportFailed | InvalidInput | NoSpace), repr(caught.value)
        assert self.store.list() == []
        assert self.left() == []
        return caught.value.message

    def left(self) -> list[str]:
        """Return what lies where an import works, and half a root filesystem or runtime."""
        places = [
            *(self.folder / "images").glob("building/*"),
            *(self.folder / "images/parts").glob("rootfs/*"),
        ]
        return sorted(path.name for path in [*places, *(self.folder / "runtimes").glob("*")])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    async def fetch_kernel(suite: str, architecture: str, folder: Path, progress: Progress) -> Kernel:
        vmlinux = folder / "vmlinux"
        vmlinux.write_text("kernel")
        return Kernel(
            package="linux", version="6", vmlinux=vmlinux, modules=(Module("virtio", b"module", ()),)
        )

    monkeypatch.setattr(build, "fetch_kernel", fetch_kernel)
    monkeypatch.setattr(store, "BUILD_SPACE", 1)
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Registry]]:
    """A registry for everybody and one that wants credentials, each with `team/app:1`."""
    layout = Layout(tmp_path_factory.mktemp("pushed"))
    layout.add("1", APP)
    folders = [tmp_path_factory.mktemp(name) for name in ("free", "protected")]
    with registry(folders[0], protected=False) as free, registry(folders[1], protected=True) as protected:
        for server in (free, protected):
            server.push(layout.folder, "1", "team/app")
        yield free, protected


def inside(image: Image, command: str) -> str:
    """Ask the root filesystem by debugfs."""
    done = subprocess.run(
        [program("debugfs"), "-R", command, str(image.rootfs)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout


def check(image: Image) -> None:
    """Look at the file system of `APP`."""
    assert inside(image, "cat /bin/app") == "first"
    assert inside(image, "cat /gone") == ""
    assert inside(image, "cat /data") == "d" * 5000
    assert inside(image, "cat /etc/emberbox/user") == "7:8\n"
    assert "User:     7   Group:     8" in inside(image, "stat /bin/app")


async def test_from_a_registry_and_again(bench: Bench, servers: tuple[Registry, Registry]) -> None:
    reference = f"docker://{servers[0].host}/team/app:1"
    root, image = await bench.take(reference)
    check(image)
    runtime = load(bench.folder / "runtimes/app/runtime.toml")
    assert (runtime.argv, dict(runtime.env)) == (("/bin/app",), {"HOME": "/home/app", "A": "1"})
    assert bench.store.find(runtime) == image
    listed = bench.store.list()[0].imported
    assert (
        (listed["source"], listed["digest"])
        == (reference, runtime.image.imported)
        == (reference, root.digest)
    )
    again, same = await bench.take(reference)
    assert (again.known, same.key) == (True, image.key)
    assert "copying the image" not in bench.steps.steps


async def test_a_tag_that_moved_is_another_image(bench: Bench) -> None:
    old_digest = bench.layout.add("1", APP)
    _, old = await bench.take(f"oci:{bench.layout.folder}:1")
    new_digest = bench.layout.add(
        "1", Made([layer(entry("bin/app", b"second"))], {"Entrypoint": ["/bin/app"]})
    )
    root, new = await bench.take(f"oci:{bench.layout.folder}:1")
    assert (root.digest, root.known) == (new_digest, False)
    assert new_digest != old_digest
    assert inside(new, "cat /bin/app") == "second"
    assert bench.store.prune().images == (old.key,)
    assert bench.store.find(load(bench.folder / "runtimes/app/runtime.toml")) == new
    assert bench.store.prune(gone={"app"}).images == (new.key,)


async def test_from_a_docker_archive(bench: Bench) -> None:
    docker_archive(bench.folder / "app.tar", APP)
    root, image = await bench.take(f"docker-archive:{bench.folder / 'app.tar'}")
    check(image)
    assert root.user == "7:8"


@pytest.mark.parametrize("packed", [True, False])
async def test_the_image_of_this_architecture_is_taken_from_an_index(bench: Bench, packed: bool) -> None:
    arm = Made([layer(entry("arm", b""))], architecture="arm64")
    digests = bench.layout.index("1", [arm, Made([BASE, ABOVE], RUN, packed=packed)])
    root, image = await bench.take(f"oci:{bench.layout.folder}:1")
    assert root.digest == digests[1]
    check(image)


async def test_an_image_keeps_its_file_system_when_the_agent_is_another(bench: Bench) -> None:
    bench.layout.add("1", APP)
    _, old = await bench.take(f"oci:{bench.layout.folder}:1")
    runtime = load(bench.folder / "runtimes/app/runtime.toml")
    shutil.rmtree(bench.layout.folder)
    (bench.folder / "agent").write_bytes(b"a later agent")
    assert bench.store.find(runtime) is None
    new = await bench.store.build(runtime)
    assert (new.rootfs, new.initramfs != old.initramfs) == (old.rootfs, True)
    bench.store.remove("app")
    with pytest.raises(ImageImportFailed, match="import it again"):
        await bench.store.build(runtime)


async def test_another_user_is_another_file_system(bench: Bench) -> None:
    bench.layout.add("1", APP)
    await bench.take(f"oci:{bench.layout.folder}:1")
    root, image = await bench.take(f"oci:{bench.layout.folder}:1", user="0:0", name="rooted")
    assert (root.user, root.known) == ("0:0", False)
    assert inside(image, "cat /etc/emberbox/user") == "0:0\n"
    assert bench.store.find(load(bench.folder / "runtimes/rooted/runtime.toml")) == image
    _, same = await bench.take(f"oci:{bench.layout.folder}:1", name="again")
    assert same.rootfs != image.rootfs


async def test_registries_that_do_not_give_it(
    bench: Bench, servers: tuple[Registry, Registry], tmp_path: Path
) -> None:
    free, protected = servers
    assert "plain HTTP" in await bench.refused(f"docker://{free.host}/team/app:1", Access())
    assert "check its name and tag" in await bench.refused(f"docker://{free.host}/team/app:2")
    assert "check its name and tag" in await bench.refused(f"docker://{free.host}/team/none:1")
    assert "cannot be reached" in await bench.refused("docker://127.0.0.1:1/team/app:1")
    reference = f"docker://{protected.host}/team/app:1"
    assert "--auth-file" in await bench.refused(reference)
    wrong = credentials(tmp_path / "wrong.json", protected.host, "no sesame")
    assert "refuses these credentials" in await bench.refused(
        reference, Access(insecure=True, auth_file=wrong)
    )
    assert "no file of credentials" in await bench.refused(
        reference, Access(insecure=True, auth_file=tmp_path / "none")
    )


async def test_with_credentials_which_are_never_shown(
    bench: Bench, servers: tuple[Registry, Registry], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    access = Access(insecure=True, auth_file=servers[1].auth_file)
    _, image = await bench.take(f"docker://{servers[1].host}/team/app:1", access)
    check(image)
    token = json.loads(servers[1].auth_file.read_text())["auths"][servers[1].host]["auth"]
    records = "\n".join(path.read_text() for path in bench.folder.glob("images/*/*/*.json"))
    assert records
    for secret in (PASSWORD, token):
        assert secret not in caplog.text + records + str(bench.steps.steps)


async def test_a_corrupt_layer(bench: Bench, tmp_path: Path) -> None:
    bench.layout.add("1", APP)
    manifest = json.loads(bench.layout.path(bench.layout.add("1", APP)).read_text())
    path = bench.layout.path(manifest["layers"][1]["digest"])
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes(20))
    assert "corrupt" in await bench.refused(f"oci:{bench.layout.folder}:1")
    path.unlink()
    assert "not complete" in await bench.refused(f"oci:{bench.layout.folder}:1")


async def test_a_layer_that_became_corrupt_in_the_registry(bench: Bench, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "pushed")
    manifest = json.loads(layout.path(layout.add("1", APP)).read_text())
    (tmp_path / "server").mkdir()
    with registry(tmp_path / "server", protected=False) as server:
        server.push(layout.folder, "1", "app")
        blob = server.blob(manifest["layers"][0]["digest"])
        blob.write_bytes(bytes(reversed(blob.read_bytes())))
        assert "corrupt" in await bench.refused(f"docker://{server.host}/app:1")


async def test_images_that_are_none_or_not_for_this_host(bench: Bench, tmp_path: Path) -> None:
    layout, place = bench.layout, f"oci:{bench.layout.folder}"
    layout.add("arm", Made([BASE], RUN, architecture="arm64"))
    layout.add("windows", Made([BASE], RUN, system="windows"))
    layout.index("others", [Made([BASE], architecture="arm64"), Made([BASE], architecture="s390x")])
    layout.add("chart", Made([BASE], config_type="application/vnd.cncf.helm.config.v1+json"))
    layout.add("nobody", Made([BASE], {"User": "nobody", "Cmd": ["x"]}))
    layout.add("nothing", Made([BASE], {}))
    layout.add("hostile", Made([layer(entry("../../../x", b""))], RUN))
    assert "linux/arm64, and this host is linux/amd64" in await bench.refused(f"{place}:arm")
    assert "windows" in await bench.refused(f"{place}:windows")
    assert "linux/arm64, linux/s390x" in await bench.refused(f"{place}:others")
    assert "artifact" in await bench.refused(f"{place}:chart")
    assert "--user" in await bench.refused(f"{place}:nobody")
    assert "leads out" in await bench.refused(f"{place}:hostile")
    assert "name it by its tag" in await bench.refused(f"{place}:none")
    assert "name it by its tag" in await bench.refused(place)
    assert "there is no oci:" in await bench.refused(f"oci:{tmp_path / 'nowhere'}:1")
    (tmp_path / "text.tar").write_text("no archive")
    assert "corrupt" in await bench.refused(f"docker-archive:{tmp_path / 'text.tar'}")
    with pytest.raises(ImageImportFailed, match="--run"):
        await bench.take(f"{place}:nothing")


async def test_a_full_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.layout.add("1", APP)
    with monkeypatch.context() as patch:
        patch.setattr(importer, "_SPACE_FACTOR", 2**50)
        assert "Free some space" in await bench.refused(f"oci:{bench.layout.folder}:1")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importer, "write_tree", full)
    assert "the disk under the data folder is full" in await bench.refused(f"oci:{bench.layout.folder}:1")


async def test_a_failed_import_leaves_the_runtime_as_it_was(bench: Bench) -> None:
    bench.layout.add("1", APP)
    _, image = await bench.take(f"oci:{bench.layout.folder}:1")
    before = (bench.folder / "runtimes/app/runtime.toml").read_text()
    bench.layout.add("1", Made([b"no tar" * 200], RUN))
    with pytest.raises(ImageImportFailed):
        await bench.take(f"oci:{bench.layout.folder}:1")
    assert (bench.folder / "runtimes/app/runtime.toml").read_text() == before
    assert bench.store.find(load(bench.folder / "runtimes/app/runtime.toml")) == image
    assert [path.name for path in (bench.folder / "runtimes").iterdir()] == ["app"]
