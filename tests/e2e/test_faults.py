"""Hosts that lack something: the message says what to do, and nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import NoSpace
from emberbox.images import ImageStore
from emberbox.runtimes import builtin_folder, discover
from tests.e2e.command import EMBERBOX, environment
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HELLO = """
import asyncio
from emberbox import Engine
from emberbox.config import load_settings

async def main():
    async with Engine(load_settings()) as engine:
        for cold in (False, True):
            result = await engine.run("import os; print(6 * 7, os.getuid())", \
runtime="python", cold=cold, timeout_s=120)
            print(result.stdout or result.message, end="")

asyncio.run(main())
"""


def _environment(**more: str) -> dict[str, str]:
    return environment(PYTHONPATH=str(ROOT / "src"), PYTHONDONTWRITEBYTECODE="1", **more)


def _fails(**more: str) -> str:
    """Return what a run that cannot succeed says with these variables."""
    done = subprocess.run(
        [*EMBERBOX, "run", "-r", "python", "-c", "print(1)"],
        env=_environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE_S,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("this host lets nobody mount a tmpfs")
    yield folder
    subprocess.run(["/usr/bin/umount", str(folder)], check=True)


@as_root
async def test_a_disk_without_room_for_images(small_disk: Path) -> None:
    (python,) = (runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")
    with pytest.raises(NoSpace, match=r"(?s)MiB.*Free some space"):
        await ImageStore(small_disk / "images").build(python)
    assert not list((small_disk / "images/building").iterdir())


@as_root
def test_a_disk_without_room_for_a_template(small_disk: Path, images: ImageStore) -> None:
    (small_disk / "images").symlink_to(images.root)
    told = _fails(EMBERBOX_DATA=str(small_disk))
    assert "MiB" in told
    assert "EMBERBOX_DATA" in told
    assert not list(small_disk.glob("templates/building-*"))


def test_a_host_without_qemu(tmp_path: Path, images: ImageStore) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/images").symlink_to(images.root)
    told = _fails(PATH=str(tmp_path), EMBERBOX_DATA=str(tmp_path / "data"))
    assert "qemu-system-" in told
    assert "apt-get install" in told


@pytest.fixture
def nobodys_data(images: ImageStore) -> Iterator[Path]:
    """A data folder, with images, that belongs to an ordinary user."""
    folder = Path(tempfile.mkdtemp(prefix="emberbox-nobody-"))
    shutil.copytree(images.root, folder / "images", ignore=shutil.ignore_patterns("building", "locks"))
    for name in ("building", "locks"):
        (folder / "images" / name).mkdir()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def _as_nobody(*command: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    environment = _environment(HOME="/nonexistent", **({} if data is None else {"EMBERBOX_DATA": str(data)}))
    return subprocess.run(
        [*setpriv, *command],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE_S,
    )


@as_root
def test_an_engine_of_an_ordinary_user(nobodys_data: Path) -> None:
    if _as_nobody("unshare", "--user", "--map-root-user", "true").returncode != 0:
        pytest.skip("ordinary users may not make user namespaces here")
    if _as_nobody(sys.executable, "-c", "import emberbox").returncode != 0:
        pytest.skip("an ordinary user cannot read this checkout or its Python")
    done = _as_nobody(sys.executable, "-c", HELLO, data=nobodys_data)
    assert (done.stdout, done.returncode) == ("42 1000\n42 1000\n", 0), done.stderr
    assert not list(nobodys_data.glob("run/*/*"))
