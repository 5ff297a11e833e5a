"""Builds the parts of an image, each under a key of its own, and only those that are missing."""

from __future__ import annotations

import asyncio
import io
import logging
import tarfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import ImageCorrupt, ImageImportFailed, NoSpace
from emberbox.files.atomic import write_file
from emberbox.files.disk import is_full
from emberbox.files.locks import wait_for_lock
from emberbox.images.kernels.kernel import fetch_kernel
from emberbox.images.kernels.module import Module
from emberbox.images.kernels.own import look_into
from emberbox.images.kernels.wanted import modules_digest, own_kernel_digest
from emberbox.images.layout import make_readable
from emberbox.images.objects import ObjectStore, StoredObject
from emberbox.images.records import BUILDER_VERSION, PartRecord, key_of, parts_in, read_record
from emberbox.images.rootfs.build import build_rootfs
from emberbox.images.rootfs.initramfs import build_initramfs, read_agent
from emberbox.images.rootfs.recipe import rootfs_inputs

if TYPE_CHECKING:
    from emberbox.images.layout import Layout
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.recipe import BuildableRuntime

_log = logging.getLogger(__name__)
_WAIT_FOR_OTHERS_S = 3600.0
_VSOCK_FOLDER = "vsock/"
"""Where the archive of modules has those that only guests on the vsock channel insert."""

Made = tuple[dict[str, StoredObject], dict[str, Any]]
"""A part's files by role, and what is told of it."""
Work = Callable[[Path], Awaitable[Made]]
"""Makes a part in a folder."""


class PartBuilder:
    """Builds parts into a store.

    Args:
        layout: The store's folders; they exist.
        objects: Where files go; adding one blocks.
        architecture: `amd64` or `arm64`.
        progress: Takes news.
        usable: Tells whether a part that is there already may be taken; what may not is built anew.
    """

    def __init__(
        self,
        layout: Layout,
        objects: ObjectStore,
        *,
        architecture: str,
        progress: Progress,
        usable: Callable[[PartRecord], bool],
    ) -> None:
        self.layout = layout
        self.objects = objects
        self._architecture = architecture
        self._progress = progress
        self._usable = usable

    async def kernel(self, suite: str) -> PartRecord:
        """Return a Debian release's kernel and modules: the stored ones, else the release's newest."""
        inputs = {
            "architecture": self._architecture,
            "suite": suite,
            "builder": BUILDER_VERSION,
            "modules": modules_digest(),
        }

        async def work(folder: Path) -> Made:
            kernel = await fetch_kernel(suite, self._architecture, folder, self._progress)
            stored = await self._store_kernel(kernel.vmlinux, kernel.modules, folder)
            return stored, {"package": kernel.package, "version": kernel.version}

        return await self.part("kernel", inputs, work)

    async def own_kernel(self, file: Path, modules: Path | None) -> tuple[PartRecord, tuple[Path, ...]]:
        """Look into a kernel of somebody's own and take it into the store.

        Returns:
            Its record, and the files that it was made of.

        Raises:
            ImageImportFailed, ImageBuildFailed, RequirementMissing: As `look_into`; nothing is stored.
        """
        async with self.layout.build_folder() as place:
            found = await look_into(file, modules, self._architecture, place)
            self._progress.log(f"kernel {found.name}")
            inputs = {"own": found.digest, "architecture": self._architecture, "taken": own_kernel_digest()}

            async def work(folder: Path) -> Made:
                return await self._store_kernel(found.vmlinux, found.modules, folder), found.about()

            return await self.part("kernel", inputs, work), found.sources

    async def _store_kernel(
        self, vmlinux: Path, modules: tuple[Module, ...], folder: Path
    ) -> dict[str, StoredObject]:
        archive = folder / "modules.tar"
        await asyncio.to_thread(_pack_modules, modules, archive)
        return {
            "kernel": await asyncio.to_thread(self.objects.add, vmlinux, "vmlinux"),
            "modules": await asyncio.to_thread(self.objects.add, archive, "modules.tar"),
        }

    async def initramfs(self, kernel: PartRecord, agent: Path, agent_digest: str) -> PartRecord:
        """Return the initramfs of a kernel's modules and an agent."""
        inputs = {
            "modules": kernel.objects["modules"].digest,
            "agent": agent_digest,
            "builder": BUILDER_VERSION,
        }

        async def work(folder: Path) -> Made:
            modules = await asyncio.to_thread(_unpack_modules, self.objects.path(kernel.objects["modules"]))
            archive = folder / "initramfs.cpio"
            archive.write_bytes(build_initramfs(read_agent(agent), modules))
            return {"initramfs": await asyncio.to_thread(self.objects.add, archive, "initramfs.cpio")}, {}

        return await self.part("initramfs", inputs, work)

    async def rootfs(self, runtime: BuildableRuntime) -> PartRecord:
        """Return the root filesystem of a runtime.

        Raises:
            ImageImportFailed: It is an imported one that is not stored: its layers were not kept.
        """
        if runtime.image.imported is not None:
            return self._imported(runtime)

        async def work(folder: Path) -> Made:
            built = await build_rootfs(runtime, self._architecture, folder, self._progress)
            stored = await asyncio.to_thread(self.objects.add, built.path, "rootfs.ext4")
            return {"rootfs": stored}, {
                "packages": {package.name: package.version for package in built.packages},
                "libraries": built.libraries,
            }

        return await self.part("rootfs", rootfs_inputs(runtime.image, self._architecture), work)

    def _imported(self, runtime: BuildableRuntime) -> PartRecord:
        digest, user = runtime.image.imported, runtime.image.user
        wanted = {"imported": digest, "architecture": self._architecture, "builder": BUILDER_VERSION}
        for _, part in parts_in(self.layout.parts):
            same = wanted.items() <= part.inputs.items() and part.about.get("user") == user
            if same and self.objects.has_all(part.objects):
                return part
        raise ImageImportFailed(
            f"the imported image of the runtime {runtime.name!r} is not stored here (any more), or not with "
            f"the user {user or 'of Emberbox'}; import it again: emberbox images import REFERENCE "
            f"--name {runtime.name}",
            detail=digest,
        )

    async def part(self, kind: str, inputs: Mapping[str, Any], work: Work) -> PartRecord:
        """Return the part of some inputs; `work` makes it where it is missing."""
        key = key_of(inputs)
        if (known := self.known(kind, key)) is not None and self._usable(known):
            return known
        lock = self.layout.locks / f"{kind}-{key}.lock"
        with await wait_for_lock(lock, what=f"building the same {kind}", timeout_s=_WAIT_FOR_OTHERS_S):
            known = self.known(kind, key)
            if known is not None and self._usable(known):
                return known
            async with self.layout.build_folder() as folder:
                try:
                    objects, about = await work(folder)
                    made = PartRecord(
                        kind=kind, key=key, inputs=inputs, objects=objects, built_at=time.time(), about=about
                    )
                    record = self._record(kind, key)
                    make_readable(record.parent)
                    write_file(record, made.encode(), mode=0o644, durable=True, aside=folder)
                except OSError as error:
                    if is_full(error):
                        raise NoSpace(
                            "the disk under the data folder is full; free some space", detail=str(error)
                        ) from error
                    raise
            _log.info(
                "built %s %s", kind, key[:12], extra={"action": "images.part_built", "kind": kind, "key": key}
            )
            return made

    def known(self, kind: str, key: str) -> PartRecord | None:
        """Return a part by its key; None where it, or a file of it, is not stored."""
        part = read_record(self._record(kind, key), PartRecord)
        return part if part is not None and self.objects.has_all(part.objects) else None

    def _record(self, kind: str, key: str) -> Path:
        return self.layout.parts / kind / f"{key}.json"


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
