"""Builds the parts of an image, each under a key of its own, and only those that are missing."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import tarfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import ImageCorrupt, ImageImportFailed, NoSpace
from emberbox.files.atomic import write_file
from emberbox.files.locks import wait_for_lock
from emberbox.images.kernels.kernel import fetch_kernel
from emberbox.images.kernels.module import Module
from emberbox.images.kernels.own import look_into
from emberbox.images.kernels.wanted import modules_digest, own_kernel_digest
from emberbox.images.keys import BUILDER_VERSION, key_of
from emberbox.images.objects import ObjectStore, StoredObject
from emberbox.images.records import PartRecord, encode, parts_in, read_part
from emberbox.images.rootfs.build import build_rootfs
from emberbox.images.rootfs.initramfs import build_initramfs, read_agent

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from emberbox.images.layout import Layout
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.recipe import Recipe

_log = logging.getLogger(__name__)
_WAIT_FOR_OTHERS_S = 3600.0
_VSOCK_FOLDER = "vsock/"
"""Where the archive of modules has those that only guests on the vsock channel insert."""

Work = Callable[[Path], Awaitable[tuple[dict[str, StoredObject], dict[str, Any]]]]


class PartBuilder:
    """Builds parts into a store.

    Args:
        layout: The store's folders; they exist.
        objects: Where files go.
        architecture: `amd64` or `arm64`.
        progress: Takes news.
        force: True builds anew what is there already.
    """

    def __init__(
        self, layout: Layout, objects: ObjectStore, *, architecture: str, progress: Progress, force: bool
    ) -> None:
        self._layout = layout
        self._objects = objects
        self._architecture = architecture
        self._progress = progress
        self._force = force

    async def kernel(self, suite: str) -> PartRecord:
        """Return a Debian release's kernel and modules: the stored ones, else the release's newest."""
        inputs = {
            "architecture": self._architecture,
            "suite": suite,
            "builder": BUILDER_VERSION,
            "modules": modules_digest(),
        }

        async def work(folder: Path) -> tuple[dict[str, StoredObject], dict[str, Any]]:
            kernel = await fetch_kernel(suite, self._architecture, folder, self._progress)
            stored = await self._store_kernel(kernel.vmlinux, kernel.modules, folder)
            return stored, {"package": kernel.package, "version": kernel.version}

        return await self._part("kernel", inputs, work)

    async def own_kernel(self, file: Path, modules: Path | None) -> tuple[PartRecord, tuple[Path, ...]]:
        """Look into a kernel of somebody's own and take it into the store.

        Returns:
            Its record, and the files that it was made of.

        Raises:
            ImageImportFailed, ImageBuildFailed, RequirementMissing: As `look_into`; nothing is stored.
        """
        async with self._layout.build_folder() as place:
            found = await look_into(file, modules, self._architecture, place)
            self._progress.log(f"kernel {found.name}")
            inputs = {"own": found.digest, "architecture": self._architecture, "taken": own_kernel_digest()}

            async def work(folder: Path) -> tuple[dict[str, StoredObject], dict[str, Any]]:
                return await self._store_kernel(found.vmlinux, found.modules, folder), found.about()

            return await self._part("kernel", inputs, work), found.sources

    async def _store_kernel(
        self, vmlinux: Path, modules: tuple[Module, ...], folder: Path
    ) -> dict[str, StoredObject]:
        archive = folder / "modules.tar"
        await asyncio.to_thread(_pack_modules, modules, archive)
        return {
            "kernel": await asyncio.to_thread(self._objects.add, vmlinux, "vmlinux"),
            "modules": await asyncio.to_thread(self._objects.add, archive, "modules.tar"),
        }

    async def initramfs(self, kernel: PartRecord, agent: Path, agent_digest: str) -> PartRecord:
        """Return the initramfs of a kernel's modules and an agent."""
        inputs = {
            "modules": kernel.objects["modules"].digest,
            "agent": agent_digest,
            "builder": BUILDER_VERSION,
        }

        async def work(folder: Path) -> tuple[dict[str, StoredObject], dict[str, Any]]:
            modules = await asyncio.to_thread(_unpack_modules, self._objects.path(kernel.objects["modules"]))
            archive = folder / "initramfs.cpio"
            archive.write_bytes(build_initramfs(read_agent(agent), modules))
            return {"initramfs": await asyncio.to_thread(self._objects.add, archive, "initramfs.cpio")}, {}

        return await self._part("initramfs", inputs, work)

    async def rootfs(self, recipe: Recipe) -> PartRecord:
        """Return the root filesystem of a recipe.

        Raises:
            ImageImportFailed: It is an imported one that is not stored: its layers were not kept.
        """
        if recipe.imported is not None:
            return self._imported(recipe)

        async def work(folder: Path) -> tuple[dict[str, StoredObject], dict[str, Any]]:
            built = await build_rootfs(recipe, self._architecture, folder, self._progress)
            stored = await asyncio.to_thread(self._objects.add, built.path, "rootfs.ext4")
            return {"rootfs": stored}, {
                "packages": {package.name: package.version for package in built.packages}
            }

        return await self._part("rootfs", recipe.inputs(self._architecture), work)

    def _imported(self, recipe: Recipe) -> PartRecord:
        wanted = {"imported": recipe.imported, "architecture": self._architecture, "builder": BUILDER_VERSION}
        for _, part in parts_in(self._layout.parts):
            same = wanted.items() <= part.inputs.items() and part.about.get("user") == recipe.user
            if same and all(self._objects.has(stored) for stored in part.objects.values()):
                return part
        raise ImageImportFailed(
            f"the imported image of the runtime {recipe.name!r} is not stored here (any more), or not with "
            f"the user {recipe.user or 'of Emberbox'}; import it again: emberbox images import REFERENCE "
            f"--name {recipe.name}",
            detail=recipe.imported,
        )

    def imported(self, inputs: Mapping[str, Any]) -> PartRecord | None:
        """Return the imported root filesystem of some inputs; None where it is not stored."""
        return self._known(self._record_path("rootfs", key_of(dict(inputs))))

    async def import_rootfs(self, inputs: Mapping[str, Any], work: Work) -> PartRecord:
        """Return the imported root filesystem of some inputs; `work` makes it where it is missing."""
        return await self._part("rootfs", inputs, work)

    def scratch(self) -> AbstractAsyncContextManager[Path]:
        """Lend a folder that is removed at the end."""
        return self._layout.build_folder()

    def add_object(self, file: Path, name: str) -> StoredObject:
        """Move a built file into the store; blocks."""
        return self._objects.add(file, name)

    def require_space(self, needed: int) -> None:
        """Raise `NoSpace` where fewer than `needed` bytes are free."""
        self._layout.require_space(needed)

    def _record_path(self, kind: str, key: str) -> Path:
        return self._layout.parts / kind / f"{key}.json"

    async def _part(self, kind: str, inputs: Mapping[str, Any], work: Work) -> PartRecord:
        key = key_of(dict(inputs))
        record = self._record_path(kind, key)
        asked_at = time.time()
        if not self._force and (known := self._known(record)) is not None:
            return known
        lock = self._layout.locks / f"{kind}-{key}.lock"
        with await wait_for_lock(lock, what=f"building the same {kind}", timeout_s=_WAIT_FOR_OTHERS_S):
            known = self._known(record)
            if known is not None and (not self._force or known.built_at >= asked_at):
                return known
            async with self._layout.build_folder() as folder:
                try:
                    objects, about = await work(folder)
                    made = PartRecord(
                        kind=kind, key=key, inputs=inputs, objects=objects, built_at=time.time(), about=about
                    )
                    _make_folder(record.parent)
                    write_file(record, encode(made), mode=0o644, durable=True, aside=folder)
                except OSError as error:
                    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                        raise NoSpace(
                            f"the disk is full under {self._layout.root}; free some space", detail=str(error)
                        ) from error
                    raise
            _log.info(
                "built %s %s", kind, key[:12], extra={"action": "images.part_built", "kind": kind, "key": key}
            )
            return made

    def _known(self, record: Path) -> PartRecord | None:
        part = read_part(record)
        return (
            part
            if part is not None and all(self._objects.has(stored) for stored in part.objects.values())
            else None
        )


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _pack_modules(modules: tuple[Module, ...], archive: Path) -> None:
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for module in modules:
            member = tarfile.TarInfo(f"{_VSOCK_FOLDER if module.vsock_only else ''}{module.file_name}")
            member.size = len(module.data)
            tar.addfile(member, io.BytesIO(module.data))


def _unpack_modules(archive: Path) -> tuple[Module, ...]:
    try:
        with tarfile.open(archive) as tar:
            members = [(member.name, tar.extractfile(member)) for member in tar.getmembers()]
            return tuple(_unpacked(name, content.read()) for name, content in members if content is not None)
    except (OSError, tarfile.TarError) as error:
        raise ImageCorrupt(
            "the stored kernel modules cannot be read; build the image anew", detail=str(archive)
        ) from error


def _unpacked(name: str, data: bytes) -> Module:
    path = name.removesuffix(".ko")
    return Module(path.removeprefix(_VSOCK_FOLDER), data, (), vsock_only=path.startswith(_VSOCK_FOLDER))
