"""Looks into somebody's own kernel before a build: what it is, and whether guests can run on it."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.images.kernels.bzimage import find_payload
from emberbox.images.kernels.facts import embedded_config, parse_config, read_facts
from emberbox.images.kernels.kernel import unpack_payload
from emberbox.images.kernels.module import load_module, module_version
from emberbox.images.kernels.modules import (
    built_in_modules,
    module_files,
    modules_of_own,
)
from emberbox.images.kernels.needs import PVM, Has, has, lacks_by_driver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from emberbox.images.kernels.facts import KernelFacts
    from emberbox.images.kernels.module import Module

_MOST_BYTES = 2 * 1024**3
_CONFIG_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKernel:
    """A kernel that was looked into.

    Args:
        name: For people: version and file name.
        version: As `uname -r` tells it.
        digest: SHA-256, as hex, of the file and of the modules that guests insert.
        vmlinux: It, unpacked.
        modules: What guests insert, in order.
        configured: Whether it told its configuration.
        pvm: Whether it has PVM's guest part.
        lacks: By driver, what that driver needs and the kernel has not, each for people.
        sources: The files that it was made of; when none of them changed, neither did the kernel.
    """

    name: str
    version: str
    digest: str
    vmlinux: Path
    modules: tuple[Module, ...]
    configured: bool
    pvm: bool
    lacks: Mapping[str, tuple[str, ...]]
    sources: tuple[Path, ...]

    def about(self) -> dict[str, Any]:
        """Return what is written down of it, JSON-ready."""
        return {
            "package": "own",
            "name": self.name,
            "version": self.version,
            "configured": self.configured,
            "pvm": self.pvm,
            "lacks": {driver: list(texts) for driver, texts in self.lacks.items()},
        }


async def look_into(file: Path, modules: Path | None, architecture: str, folder: Path) -> OwnKernel:
    """Unpack a kernel into `folder` and find out what it can do.

    Args:
        file: vmlinux, bzImage or another file of Linux's kernel.
        modules: A folder with its modules: `lib/modules/VERSION`, or what holds that; None for a
            kernel that needs none.
        architecture: The guests': `amd64` or `arm64`.
        folder: An empty folder, which the caller removes; on return it holds `vmlinux`.

    Raises:
        ImageImportFailed: It is no such kernel, the modules are another's, or no driver could use it.
        ImageBuildFailed: It cannot be unpacked, or a module cannot be read.
        RequirementMissing: The program that unpacks it is missing.
    """
    packed = await asyncio.to_thread(_read, file)
    vmlinux = folder / "vmlinux"
    await unpack_payload(find_payload(packed), vmlinux, folder)
    digest = hashlib.sha256(packed)
    return await asyncio.to_thread(_examine, file, modules, architecture, vmlinux, digest)


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ImageImportFailed(f"{file.name} is larger than 2 GiB, which no kernel for guests should be")
        return file.read_bytes()
    except OSError as error:
        raise ImageImportFailed(f"the kernel {file} cannot be read: {error.strerror}") from error


def _examine(
    file: Path, modules: Path | None, architecture: str, vmlinux: Path, digest: hashlib._Hash
) -> OwnKernel:
    facts = read_facts(vmlinux)
    beside = _config_beside(file, facts.version) if facts.config is None else None
    if beside is not None:
        facts = replace(
            facts, config=parse_config(beside.read_bytes()[:_CONFIG_BYTES].decode("utf-8", "replace"))
        )
    if facts.architecture != architecture:
        raise ImageImportFailed(f"{file.name} is for {facts.architecture}; guests here are {architecture}")
    files: dict[str, Path] = {}
    built_in: set[str] = set()
    chosen: tuple[Module, ...] = ()
    sources = [file, *([] if beside is None else [beside])]
    if modules is not None:
        folder = _folder_of(modules, facts.version)
        files, built_in = module_files(folder), built_in_modules(folder)
        facts = _with_config_module(facts, files)
        chosen = modules_of_own(folder)
        sources += [path for path in (folder / "modules.builtin",) if path.is_file()]
    _check_version(facts.version, chosen)
    lacks = lacks_by_driver(facts, files, built_in)
    _refuse(file, facts, set.intersection(*(set(texts) for texts in lacks.values())))
    for module in chosen:
        digest.update(f"\0{module.name} {module.vsock_only}\0".encode() + module.data)
    return OwnKernel(
        name=f"Linux {facts.version} ({file.name})",
        version=facts.version,
        digest=digest.hexdigest(),
        vmlinux=vmlinux,
        modules=chosen,
        configured=facts.config is not None,
        pvm=has(PVM, facts, files, built_in) is Has.BUILT_IN,
        lacks=lacks,
        sources=(*sources, *(files[module.name] for module in chosen)),
    )


def _config_beside(file: Path, version: str) -> Path | None:
    """Return the configuration beside a kernel: `config-VERSION` beside `vmlinuz-VERSION`."""
    path = file.with_name(f"config-{version}")
    return path if file.name.endswith(f"-{version}") and path != file and path.is_file() else None


def _folder_of(modules: Path, version: str) -> Path:
    for folder in (
        modules / "lib/modules" / version,
        modules / "usr/lib/modules" / version,
        modules / version,
        modules,
    ):
        if folder.is_dir() and any(folder.rglob("*.ko*")):
            return folder
    raise ImageImportFailed(
        f"{modules} holds no modules; it should be lib/modules/{version}, or a folder that holds that"
    )


def _with_config_module(facts: KernelFacts, files: Mapping[str, Path]) -> KernelFacts:
    """Add the configuration that the kernel's module `configs` carries, where the kernel itself has none."""
    if facts.config is not None or "configs" not in files:
        return facts
    text = embedded_config(load_module("configs", files["configs"]).data)
    return facts if text is None else replace(facts, config=parse_config(text))


def _check_version(version: str, modules: Iterable[Module]) -> None:
    for module in modules:
        try:
            built_for = module_version(module.data)
        except ValueError as error:
            raise ImageBuildFailed(f"the kernel module {module.file_name} cannot be read: {error}") from error
        if built_for is not None and built_for != version:
            raise ImageImportFailed(
                f"the kernel is {version}, but its module {module.name} was built for {built_for}; name the "
                "folder of its own"
            )


def _refuse(file: Path, facts: KernelFacts, lacking: set[str]) -> None:
    if not lacking:
        return
    unsure = (
        ""
        if facts.config is not None
        else " It tells no configuration, so this was concluded from what is in it."
    )
    what = "; ".join(sorted(lacking))
    raise ImageImportFailed(
        f"the kernel {facts.version} ({file.name}) cannot run guests on any driver: it lacks {what}.{unsure}"
    )
