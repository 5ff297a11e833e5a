"""Builds real images with the host's own tools, looks into them, and boots one."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.images import ImageStore, missing_requirements
from emberbox.images.tools.requirements import Requirement
from emberbox.runtimes import builtin_folder, discover
from emberbox.vmm.qemu.arguments import Hardware
from emberbox.vmm.qemu.processor import known_flags
from emberbox.vmm.timestamp import tsc_khz

if TYPE_CHECKING:
    from emberbox.images import Image

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing_requirements()), reason="a program that builds images is missing"),
]

MIB = 1024 * 1024
BOOT_S = 300.0
RUNTIMES = discover([builtin_folder()])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return ImageStore(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
async def python_image(images: ImageStore) -> Image:
    return await images.build(RUNTIMES.get("python"))


def unpacked(image: Image, folder: Path) -> Path:
    """Copy a root filesystem's files out of its image, without mounting it."""
    debugfs = Requirement("debugfs", "e2fsprogs", "").find()
    assert debugfs is not None
    folder.mkdir()
    subprocess.run([debugfs, "-R", f"rdump / {folder}", str(image.rootfs)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def python_root(python_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(python_image, tmp_path_factory.mktemp("python") / "root")


async def test_the_python_image_is_complete_and_small(images: ImageStore, python_image: Image) -> None:
    assert python_image.kernel.read_bytes()[:4] in {b"\x7fELF", b"MZ\0\0", b"MZ\x40\xfa"}
    assert python_image.sizes["rootfs"] <= 120 * MIB
    assert python_image.sizes["initramfs"] <= 16 * MIB
    assert images.find(RUNTIMES.get("python")) == python_image
    images.verify(python_image)
    assert "python3" in images.inspect("python").packages
    assert "dpkg" not in images.inspect("python").packages


def test_the_bytecode_of_the_standard_library_is_there_and_fits(python_root: Path) -> None:
    library = next((python_root / "usr/lib").glob("python3.[0-9]*"))
    tag = library.name.replace("python", "cpython-").replace(".", "")
    sources = list(library.rglob("*.py"))
    assert len(sources) > 500
    stale = []
    for source in sources:
        cached = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        header = cached.read_bytes()[4:16] if cached.exists() else b""
        state = source.stat()
        if header != struct.pack("<III", 0, int(state.st_mtime), state.st_size):
            stale.append(source.name)
    assert stale == []


def test_the_root_holds_the_guests_user_and_no_program_that_changes_users(python_root: Path) -> None:
    assert "user:x:1000:1000:user:/work:/bin/bash" in (python_root / "etc/passwd").read_text()
    assert (
        (python_root / "etc/resolv.conf").read_bytes() == (python_root / "etc/machine-id").read_bytes() == b""
    )
    assert (python_root / "mnt/script").is_dir()
    files = [path for path in python_root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if path.stat().st_mode & 0o6000] == []
    assert not (python_root / "var/lib/dpkg").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_standard_library_imports_and_pip_runs(python_root: Path) -> None:
    code = (
        "import ssl, sqlite3, lzma, bz2, ctypes, curses, readline, dbm.gnu, distutils.core, venv\n"
        "import zoneinfo, asyncio, multiprocessing, hashlib\n"
        "assert zoneinfo.ZoneInfo('Europe/Berlin') and ssl.create_default_context().get_ca_certs()\n"
    )
    chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert chroot is not None
    for argv in (["-c", code], ["-m", "pip", "--version"]):
        command = [chroot, "--userspec=1000:1000", str(python_root), "/usr/bin/python3", "-Wignore", *argv]
        done = subprocess.run(
            command, capture_output=True, text=True, env={"HOME": "/work", "PATH": "/usr/bin"}
        )
        assert done.returncode == 0, done.stderr


async def test_the_kernel_boots_and_starts_the_agent(python_image: Image, tmp_path: Path) -> None:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("QEMU is not installed")
    # The driver's own: a kernel that has to find out for itself how fast its clock runs does not
    # boot on a busy host.
    hardware = Hardware(
        binary=qemu, accelerator="tcg", tsc_khz=tsc_khz(), known_flags=tuple(known_flags(Path(qemu)))
    )
    console = tmp_path / "console"
    process = await asyncio.create_subprocess_exec(
        *(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "256"),
        *(
            "-accel",
            hardware.acceleration,
            "-cpu",
            hardware.processor,
            "-M",
            hardware.machine,
            "-serial",
            f"file:{console}",
        ),
        *("-kernel", str(python_image.kernel), "-initrd", str(python_image.initramfs)),
        *(
            "-append",
            " ".join(
                argument for argument in hardware.kernel_args if argument not in ("quiet", "loglevel=1")
            ),
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(BOOT_S):
            while "Run /init as init process" not in await asyncio.to_thread(_read, console):
                assert process.returncode is None, f"QEMU ended:\n{_read(console)[-2000:]}"
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"the kernel did not start the agent:\n{_read(console)[-2000:]}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


async def test_a_build_cancelled_midway_leaves_no_mount_process_or_file(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "images")
    installing = asyncio.Event()

    class Watch:
        def step(self, name: str, fraction: float | None) -> None:
            pass

        def log(self, line: str) -> None:
            if "installing essential packages" in line:
                installing.set()

    task = asyncio.create_task(images.build(RUNTIMES.get("bash"), Watch()))
    waiting = asyncio.create_task(installing.wait())
    await asyncio.wait({task, waiting}, timeout=300, return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), "the build ended before it could be cancelled"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _left_behind(tmp_path) == []
    assert images.find(RUNTIMES.get("bash")) is None


def _left_behind(folder: Path) -> list[str]:
    files = [str(path) for path in (folder / "images/building").iterdir()]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    return [*files, *mounts, *_processes_naming(str(folder))]


def _processes_naming(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found
