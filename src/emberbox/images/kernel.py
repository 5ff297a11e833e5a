"""The guest's kernel: Debian's cloud kernel, downloaded and unpacked, never installed."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.apt import newest_version
from emberbox.images.bzimage import Payload, find_payload, unpack_here
from emberbox.images.modules import Module, guest_modules
from emberbox.images.process import run_tool
from emberbox.images.requirements import find_program

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images.progress import Progress

_DOWNLOAD_S = 600.0
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


async def fetch_kernel(architecture: str, folder: Path, progress: Progress) -> Kernel:
    """Download the newest cloud kernel into `folder` and unpack what a guest needs from it.

    Args:
        architecture: `amd64` or `arm64`.
        folder: An empty folder, which the caller removes; on return it holds `vmlinux`.
        progress: Takes what the tools print.

    Raises:
        RequirementMissing: apt does not know the package, or a program is missing.
        ImageBuildFailed: Download or unpacking failed; the detail holds the tool's last output.
    """
    package, version = await _resolve(architecture)
    progress.log(f"kernel package {package} {version}")
    await _download(package, version, folder, progress)
    archive = _downloaded(package, folder)
    tree = folder / "tree"
    await run_tool(
        [find_program("dpkg-deb"), "-x", str(archive), str(tree)], what="unpack the kernel package", timeout_s=_UNPACK_S
    )
    payload = await asyncio.to_thread(_read_payload, tree)
    vmlinux = folder / "vmlinux"
    await _unpack(payload, vmlinux, folder)
    modules = await asyncio.to_thread(_modules, tree)
    await asyncio.to_thread(shutil.rmtree, tree)
    archive.unlink()
    return Kernel(package=package, version=version, vmlinux=vmlinux, modules=modules)


def _downloaded(package: str, folder: Path) -> Path:
    for archive in folder.glob("*.deb"):
        return archive
    raise ImageBuildFailed(f"apt downloaded no file for {package}; are the host's package lists fresh (sudo apt-get update)?")


async def _resolve(architecture: str) -> tuple[str, str]:
    """Return the package that holds the kernel itself: the named one only depends on it."""
    name = f"linux-image-cloud-{architecture}"
    _, fields = await newest_version(name)
    match = re.search(r"\b(linux-image-\d[\w.+-]*)", fields.get("Depends", ""))
    if match is None:
        raise RequirementMissing(f"the package {name} does not say which kernel it stands for", detail=fields.get("Depends"))
    version, _ = await newest_version(match[1])
    return match[1], version


async def _download(package: str, version: str, folder: Path, progress: Progress) -> None:
    try:
        await run_tool(
            # apt's own download user cannot write into a private folder.
            [find_program("apt-get"), "-o", "APT::Sandbox::User=root", "-qq", "download", f"{package}={version}"],
            what=f"download the kernel package {package}",
            timeout_s=_DOWNLOAD_S,
            cwd=folder,
            on_line=progress.log,
        )
    except ImageBuildFailed as error:
        raise ImageBuildFailed(
            f"{error.message}. Is the network reachable, and are the package lists fresh (sudo apt-get update)?",
            detail=error.detail,
        ) from error


def _read_payload(tree: Path) -> Payload:
    image = next((tree / "boot").glob("vmlinu[xz]-*"), None)
    if image is None:
        raise ImageBuildFailed("the kernel package holds no kernel under /boot")
    return find_payload(image.read_bytes())


async def _unpack(payload: Payload, vmlinux: Path, folder: Path) -> None:
    data = await asyncio.to_thread(unpack_here, payload)
    if data is not None:
        await asyncio.to_thread(vmlinux.write_bytes, data)
        return
    packed = folder / f"packed.{payload.compression}"
    await asyncio.to_thread(packed.write_bytes, payload.data)
    await run_tool(
        [find_program(payload.compression), "-dc"], what="unpack the kernel", timeout_s=_UNPACK_S, stdin=packed, stdout=vmlinux
    )
    packed.unlink()


def _modules(tree: Path) -> tuple[Module, ...]:
    for folder in (tree / "lib/modules", tree / "usr/lib/modules"):
        if folder.is_dir():
            return guest_modules(next(folder.iterdir()))
    raise ImageBuildFailed("the kernel package holds no modules")
