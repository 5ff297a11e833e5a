"""The images there are, and the way to new ones."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from typing import TYPE_CHECKING, Any

from emberbox.errors import DataFolderBusy, ImageCorrupt, ImageError, ImageImportFailed
from emberbox.files.atomic import write_file
from emberbox.files.locks import is_locked, take_lock, wait_for_lock
from emberbox.images.debian.apt import host_architecture
from emberbox.images.image import ROLES, Image, StoredImage, image_of
from emberbox.images.kernels.choice import KernelChoice
from emberbox.images.kernels.wanted import modules_digest
from emberbox.images.layout import Layout, make_readable
from emberbox.images.objects import ObjectStore, StoredObject, file_digest
from emberbox.images.progress import Progress, SilentProgress
from emberbox.images.pruning import PruneReport, superseded, sweep
from emberbox.images.records import BUILDER_VERSION, ImageRecord, PartRecord, images_in, key_of
from emberbox.images.rootfs.initramfs import agent_path, read_agent
from emberbox.images.tools.requirements import check_requirements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from emberbox.images.build import PartBuilder
    from emberbox.images.rootfs.recipe import BuildableRuntime

_log = logging.getLogger(__name__)

BUILD_SPACE = 1024 * 1024 * 1024
"""Free bytes that a build asks for before it begins."""
_WAIT_S = 60.0


class ImageStore:
    """The folder of images.

    Any number of processes may use it at once; it survives being killed at any moment.

    Args:
        root: The folder; made by the first build.
        architecture: `amd64` or `arm64`; None for the host's own.
        agent: The compiled agent; None for the one that comes with Emberbox.
        kernel: The file of the kernel that new images get, or `debian`; None for the one that
            `take_kernel` took, else Debian's.
        modules: The folder of that file's modules; None for a kernel that needs none.
    """

    def __init__(
        self,
        root: Path,
        *,
        architecture: str | None = None,
        agent: Path | None = None,
        kernel: Path | str | None = None,
        modules: Path | None = None,
    ) -> None:
        self._layout = Layout(root)
        self._kernel = KernelChoice(self._layout, kernel, modules)
        self._objects = ObjectStore(self._layout.objects)
        self._architecture = architecture
        self._agent = agent
        self._agent_digest: tuple[tuple[int, int, int], str] | None = None

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self._layout.root

    @property
    def architecture(self) -> str:
        """Debian's name of the images' architecture; raises `RequirementMissing` on unsupported hosts."""
        if self._architecture is None:
            self._architecture = host_architecture()
        return self._architecture

    @property
    def agent(self) -> Path:
        """The compiled agent that goes into new images."""
        return self._agent if self._agent is not None else agent_path(self.architecture)

    @property
    def own_kernel(self) -> PartRecord | None:
        """What is known of the kernel that new images get; None for Debian's, and before `prepare_kernel`."""
        return self._kernel.part()

    async def prepare_kernel(self, progress: Progress | None = None) -> PartRecord | None:
        """Look into the kernel that a setting names, unless that was done; return what `own_kernel` is then.

        Safe to repeat.

        Raises:
            ImageImportFailed: It cannot run guests, or what was taken into the store is gone.
            ImageBuildFailed, RequirementMissing, NoSpace: It cannot be unpacked here.
        """
        part = self._kernel.part()
        if not self._kernel.own or (part is not None and self._objects.has_all(part.objects)):
            return part
        if self._kernel.named is None:
            raise ImageImportFailed(
                "the kernel that was chosen is not in the store any more, or was taken by another release; "
                "take it again: emberbox setup --kernel FILE, or Debian's: emberbox setup --kernel debian"
            )
        return await self.import_kernel(self._kernel.named, self._kernel.modules, progress)

    async def import_kernel(
        self, file: Path, modules: Path | None = None, progress: Progress | None = None
    ) -> PartRecord:
        """Look into a kernel and keep it, which does not yet have images get it.

        Raises as `prepare_kernel`; safe to repeat.

        Args:
            file: vmlinux, bzImage or another file of Linux's kernel.
            modules: A folder that holds its modules; None for a kernel that needs none.
            progress: Takes news; None for nobody.
        """
        async with self.building(progress or SilentProgress()) as builder:
            part, sources = await builder.own_kernel(file, modules)
            self._kernel.remember(file, modules, sources, part.key)
        return part

    def take_kernel(self, part: PartRecord | None) -> None:
        """Have new images get an imported kernel from now on, or Debian's again: None."""
        self._layout.create()
        self._kernel.take(None if part is None else part.key)

    def agent_digest(self) -> str:
        """Return the agent's SHA-256, read again after a change; raises `RequirementMissing` without one."""
        path = self.agent
        try:
            information = path.stat()
        except FileNotFoundError:
            read_agent(path)
            raise
        stamp = (information.st_mtime_ns, information.st_size, information.st_ino)
        if self._agent_digest is None or self._agent_digest[0] != stamp:
            self._agent_digest = (stamp, file_digest(path))
        return self._agent_digest[1]

    def find(self, runtime: BuildableRuntime) -> Image | None:
        """Return the image that fits a runtime's files and the agent; None when it must be built.

        Fast: reads a few small files, asks no tool.
        """
        wanted = self._identity(runtime)
        for _, record in images_in(self._layout.images, runtime.name):
            same = all(record.inputs.get(name) == value for name, value in wanted.items())
            same = same and record.inputs.get("kernel") == wanted.get("kernel")
            if same and self._objects.has_all(record.objects):
                return image_of(record, self._objects)
        return None

    async def build(
        self, runtime: BuildableRuntime, progress: Progress | None = None, force: bool = False
    ) -> Image:
        """Return a runtime's image, building what is missing of it.

        Args:
            runtime: What to build for.
            progress: Takes news; None for nobody.
            force: True builds all parts anew, with the newest packages.

        Raises:
            RequirementMissing: The host lacks a program, package lists or a right; the message
                holds what mends it.
            ImageBuildFailed: A step failed; `detail` holds the tool's last output.
            NoSpace: The disk is full.

        Safe to cancel and to repeat: the store is as it was, or holds finished parts. Where another
        process builds the same, this waits for it.
        """
        news: Progress = progress or SilentProgress()
        asked_at = time.time()
        await self.prepare_kernel(news)
        if not force and (found := self.find(runtime)) is not None:
            news.step("ready", 1.0)
            return found
        agent_digest = self.agent_digest()
        async with self.building(news, lambda part: not force or part.built_at >= asked_at) as builder:
            return await self._build(runtime, builder, news, agent_digest)

    async def renew(
        self,
        runtime: BuildableRuntime,
        usable: Callable[[PartRecord], bool],
        before_use: Callable[[Image], Awaitable[None]],
        progress: Progress | None = None,
    ) -> Image:
        """Build a runtime's image of parts that are `usable`, and those anew that are not.

        The image that `find` returns stays the old one until `before_use` is done with the new one,
        for good where that fails. Raises as `build`, and what `before_use` raises. Safe to repeat.

        Args:
            runtime: What to build for.
            usable: Tells whether a part that is there already may be taken.
            before_use: What is to be done before anybody else sees the image.
            progress: Takes news; None for nobody.
        """
        news: Progress = progress or SilentProgress()
        await self.prepare_kernel(news)
        agent_digest = self.agent_digest()
        async with self.building(news, usable) as builder:
            return await self._build(runtime, builder, news, agent_digest, before_use)

    @contextlib.asynccontextmanager
    async def building(
        self, news: Progress, usable: Callable[[PartRecord], bool] = lambda _: True
    ) -> AsyncIterator[PartBuilder]:
        """Lend a builder of parts; while it is lent, nothing is pruned. May be nested.

        Args:
            news: Takes the builder's news.
            usable: Tells whether a part that is there already may be taken.

        Raises:
            RequirementMissing: The host lacks a program.
            NoSpace: The disk is nearly full.
            DataFolderBusy: Images are being pruned, and that does not end.
        """
        # Imported here: only builds need it, and every start of the engine would pay for it.
        from emberbox.images.build import PartBuilder

        check_requirements()
        self._layout.create()
        lock = self._layout.locks / "store.lock"
        with await wait_for_lock(lock, what="pruning images", timeout_s=_WAIT_S, shared=True):
            await self._layout.remove_dead_builds()
            self._layout.require_space(BUILD_SPACE)
            yield PartBuilder(
                self._layout, self._objects, architecture=self.architecture, progress=news, usable=usable
            )

    async def _build(
        self,
        runtime: BuildableRuntime,
        builder: PartBuilder,
        news: Progress,
        agent_digest: str,
        before_use: Callable[[Image], Awaitable[None]] | None = None,
    ) -> Image:
        news.step("kernel", 0.0)
        kernel = self._kernel.part() or await builder.kernel(runtime.image.suite)
        news.step("initramfs", 0.2)
        initramfs = await builder.initramfs(kernel, self.agent, agent_digest)
        news.step("root filesystem", 0.25)
        rootfs = await builder.rootfs(runtime)
        record = self._record(runtime, agent_digest, kernel, initramfs, rootfs)
        if before_use is not None:
            await before_use(image_of(record, self._objects))
        target = self._layout.images / runtime.name
        make_readable(target)
        async with self._layout.build_folder() as folder:
            place = target / f"{record.key}.json"
            write_file(place, record.encode(), mode=0o644, durable=True, aside=folder)
        news.step("ready", 1.0)
        return image_of(record, self._objects)

    def _record(
        self,
        runtime: BuildableRuntime,
        agent_digest: str,
        kernel: PartRecord,
        initramfs: PartRecord,
        rootfs: PartRecord,
    ) -> ImageRecord:
        objects = {
            "kernel": kernel.objects["kernel"],
            "initramfs": initramfs.objects["initramfs"],
            "rootfs": rootfs.objects["rootfs"],
        }
        inputs = {
            **self._identity(runtime, agent_digest),
            "kernel_package": kernel.about.get("package"),
            "kernel_version": kernel.about.get("version"),
            **{f"{role}_digest": stored.digest for role, stored in objects.items()},
        }
        return ImageRecord(
            runtime=runtime.name,
            key=key_of(inputs),
            inputs=inputs,
            objects=objects,
            built_at=time.time(),
            about=rootfs.about,
        )

    def list(self) -> list[StoredImage]:
        """Return all images, by runtime, newest first."""
        records = [record for _, record in images_in(self._layout.images)]
        newest = self._newest(records)
        return [
            StoredImage(
                image=image_of(record, self._objects),
                built_at=record.built_at,
                newest=record.key == newest[record.runtime],
                inputs=record.inputs,
                packages=record.about.get("packages", {}),
                libraries=record.about.get("libraries", {}),
                imported=record.about.get("imported", {}),
            )
            for record in records
        ]

    def _newest(self, records: Sequence[ImageRecord]) -> dict[str, str]:
        """Return each runtime's key of the newest image with the used kernel, else of its newest."""
        kernel = self._kernel.key()
        newest: dict[str, str] = {}
        for record in [*(record for record in records if record.inputs.get("kernel") == kernel), *records]:
            newest.setdefault(record.runtime, record.key)
        return newest

    def inspect(self, runtime: str, key: str | None = None) -> StoredImage:
        """Return a runtime's image, newest or by the start of its key; raises `ImageError` without one."""
        found = [stored for stored in self.list() if stored.image.runtime == runtime]
        for stored in sorted(found, key=lambda stored: not stored.newest):
            if stored.image.key.startswith(key or ""):
                return stored
        which = f" whose key begins with {key!r}" if key else ""
        raise ImageError(
            f"there is no image of {runtime!r}{which}; build it: emberbox images build {runtime}"
        )

    @contextlib.contextmanager
    def lease(self, image: Image) -> Iterator[Image]:
        """Keep an image from being pruned for as long as the context lasts, or this process lives.

        A store that may only be read is used without.

        Raises:
            ImageCorrupt: It was pruned already.
            DataFolderBusy: Images are being pruned just now; they are not for long.
        """
        with contextlib.ExitStack() as lease:
            try:
                what = "pruning images"
                with take_lock(self._layout.locks / "store.lock", what=what, shared=True):
                    lease.enter_context(take_lock(self._layout.lease_file(image.key), what=what, shared=True))
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                    raise
                _log.debug("no lease on image %s: %s", image.key, error, extra={"action": "images.no_lease"})
            if not all(path.exists() for path in (image.kernel, image.initramfs, image.rootfs)):
                raise ImageCorrupt(
                    f"the image {image.key[:12]} of {image.runtime} is gone; build it again",
                    detail=str(self.root),
                )
            yield image

    def prune(self, *, dry_run: bool = False, gone: Collection[str] = ()) -> PruneReport:
        """Remove images that are neither newest nor leased; then files that no image needs.

        Args:
            dry_run: True removes nothing.
            gone: Runtimes that are no more: their newest image goes as well.

        Raises:
            DataFolderBusy: An image is being built just now.
        """
        if not self._layout.locks.is_dir():
            return PruneReport()
        with take_lock(self._layout.locks / "store.lock", what="building an image"):
            newest = {
                stored.image.key
                for stored in self.list()
                if stored.newest and stored.image.runtime not in gone
            }
            return self._sweep(lambda record: record.key in newest, dry_run)

    def remove_superseded(self) -> PruneReport:
        """Remove the images that a newer one has taken the place of and nobody leases; then as `prune`.

        Those are images of the same runtime, agent and kernel of one's own, with older packages: no
        run gets them any more. Nothing else goes, unlike with `prune`.

        Raises:
            DataFolderBusy: An image is being built just now.
        """
        if not self._layout.locks.is_dir():
            return PruneReport()
        with take_lock(self._layout.locks / "store.lock", what="building an image"):
            old = superseded(record for _, record in images_in(self._layout.images))
            return self._sweep(lambda record: record.key not in old)

    def remove(self, runtime: str) -> PruneReport:
        """Remove all images of a runtime, then files that no image needs.

        Raises:
            DataFolderBusy: One of them is in use, or an image is being built just now.
        """
        if not self._layout.locks.is_dir():
            return PruneReport()
        with take_lock(self._layout.locks / "store.lock", what="building an image"):
            used = [
                record
                for _, record in images_in(self._layout.images, runtime)
                if is_locked(self._layout.lease_file(record.key))
            ]
            if used:
                raise DataFolderBusy(
                    f"the image {used[0].key[:12]} of {runtime} is in use; end what uses it first"
                )
            return self._sweep(lambda record: record.runtime != runtime)

    def verify(self, image: Image) -> None:
        """Read an image's files whole and compare them with their digests; raises `ImageCorrupt`.

        Blocks for about a second.
        """
        for role in ROLES:
            path: Path = getattr(image, role)
            self._objects.verify(StoredObject(image.digests[role], path.name, image.sizes[role]))

    def _sweep(self, keeps: Callable[[ImageRecord], bool], dry_run: bool = False) -> PruneReport:
        return sweep(self._layout, self._objects, self._kernel.part(), keeps, dry_run=dry_run)

    def _identity(self, runtime: BuildableRuntime, agent_digest: str | None = None) -> dict[str, Any]:
        own = self._kernel.key()
        return {
            **({} if own is None else {"kernel": own}),
            "runtime": runtime.fingerprint,
            "agent": agent_digest or self.agent_digest(),
            "builder": BUILDER_VERSION,
            "modules": modules_digest(),
            "suite": runtime.image.suite,
            "architecture": self.architecture,
        }
