"""The guest's kernel: Debian's cloud kernel, downloaded and unpacked, never installed."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.debian.archive import Archive, open_archive
from emberbox.images.kernels.bzimage import Payload, find_payload, unpack_here
from emberbox.images.kernels.modules import guest_modules
from emberbox.images.tools.process import run_tool
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images.kernels.module import Module
    from emberbox.images.progress import Progress

_UNPACK_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel ready for a guest.

    Args:
        package: The Debian package it comes from.
        version: That package's version.
        vmlinux: The unpacked kernel's path: ELF on amd64, Image on arm64.
        modules: What a guest inserts, in order.
    """

    package: str
    version: str
    vmlinux: Path
    modules: tuple[Module, ...]


async def fetch_kernel(suite: str, architecture: str, folder: Path, progress: Progress) -> Kernel:
    """Download a Debian release's newest cloud kernel into `folder` and unpack what a guest needs from it.

    Args:
        suite: The release, such as `bookworm`; it need not be the host's.
        architecture: `amd64` or `arm64`.
        folder: An empty folder, which the caller removes; on return it holds `vmlinux`.
        progress: Takes what the tools print.

    Raises:
        RequirementMissing: The release has no such package, nobody here vouches for it, or a
            program is missing.
        ImageBuildFailed: Download or unpacking failed; the detail holds the tool's last output.
    """
    lists = folder / "apt"
    lists.mkdir()
    packages = await open_archive(suite, architecture, lists, progress)
    package, version = await newest_kernel(packages, architecture)
    progress.log(f"kernel package {package} {version}")
    archive = await packages.download(package, version, folder)
    tree = folder / "tree"
    await run_tool(
        [find_program("dpkg-deb"), "-x", str(archive), str(tree)],
        what="unpack the kernel package",
        timeout_s=_UNPACK_S,
    )
    payload = await asyncio.to_thread(_read_payload, tree)
    vmlinux = folder / "vmlinux"
    await unpack_payload(payload, vmlinux, folder)
    modules = await asyncio.to_thread(_modules, tree)
    await asyncio.to_thread(shutil.rmtree, tree)
    await asyncio.to_thread(shutil.rmtree, lists)
    archive.unlink()
    return Kernel(package=package, version=version, vmlinux=vmlinux, modules=modules)


async def newest_kernel(packages: Archive, architecture: str) -> tuple[str, str]:
    """Return the package that holds a release's newest cloud kernel, and its version.

    It is the package that the named one only depends on. Raises `RequirementMissing` where there is none.
    """
    name = f"linux-image-cloud-{architecture}"
    _, fields = await packages.newest_version(name)
    match = re.search(r"\b(linux-image-\d[\w.+-]*)", fields.get("Depends", ""))
    if match is None:
        raise RequirementMissing(
            f"the package {name} does not say which kernel it stands for", detail=fields.get("Depends")
        )
    version, _ = await packages.newest_version(match[1])
    return match[1], version


def _read_payload(tree: Path) -> Payload:
    image = next((tree / "boot").glob("vmlinu[xz]-*"), None)
    if image is None:
        raise ImageBuildFailed("the kernel package holds no kernel under /boot")
    return find_payload(image.read_bytes())


async def unpack_payload(payload: Payload, vmlinux: Path, folder: Path) -> None:
    """Write an unpacked kernel to the new file `vmlinux`; `folder` is for what is needed meanwhile.

    Raises:
        RequirementMissing: The program that unpacks it is missing.
        ImageBuildFailed: It cannot be unpacked.
    """
    data = await asyncio.to_thread(unpack_here, payload)
    if data is not None:
        await asyncio.to_thread(vmlinux.write_bytes, data)
        return
    packed = folder / f"packed.{payload.compression}"
    await asyncio.to_thread(packed.write_bytes, payload.data)
    await run_tool(
        [find_program(payload.compression), "-dc"],
        what="unpack the kernel",
        timeout_s=_UNPACK_S,
        stdin=packed,
        stdout=vmlinux,
    )
    packed.unlink()


def _modules(tree: Path) -> tuple[Module, ...]:
    for folder in (tree / "lib/modules", tree / "usr/lib/modules"):
        if folder.is_dir():
            return guest_modules(next(folder.iterdir()))
    raise ImageBuildFailed("the kernel package holds no modules")
