"""The images there are, and the way to new ones."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emberbox.errors import DataFolderBusy, ImageCorrupt, ImageError
from emberbox.images.apt import host_architecture, host_suite
from emberbox.images.initramfs import agent_path, read_agent
from emberbox.images.layout import Layout
from emberbox.images.locks import is_locked, locked, locked_now
from emberbox.images.objects import ObjectStore, StoredObject, file_digest, write_atomically
from emberbox.images.progress import Progress, SilentProgress
from emberbox.images.recipe import BUILDER_VERSION, BuildableRuntime, Recipe, key_of, modules_digest
from emberbox.images.records import ImageRecord, PartRecord, encode, images_in, parts_in
from emberbox.images.requirements import check_requirements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from emberbox.images.build import PartBuilder

_log = logging.getLogger(__name__)

BUILD_SPACE = 1024 * 1024 * 1024
"""Free bytes that a build asks for before it begins."""
_WAIT_S = 60.0
_ROLES = ("kernel", "initramfs", "rootfs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image ready for use. Its files never change; all may read them.

    Args:
        runtime: The runtime's name.
        key: Hash of all that went in.
        kernel: vmlinux.
        initramfs: cpio archive with the agent as /init.
        rootfs: ext4, to be attached read-only.
        sizes: Bytes by `kernel`, `initramfs`, `rootfs`.
        digests: SHA-256 by the same names.
    """

    runtime: str
    key: str
    kernel: Path
    initramfs: Path
    rootfs: Path
    sizes: Mapping[str, int] = field(hash=False)
    digests: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """What the store knows of an image.

    Args:
        image: Its files.
        built_at: Unix time in seconds.
        newest: Whether it is the runtime's newest.
        inputs: What its key was made from: suite, architecture, kernel version, agent.
        packages: Versions of the installed Debian packages by name.
        imported: Of an imported image: `source` and `digest`; else empty.
    """

    image: Image
    built_at: float
    newest: bool
    inputs: Mapping[str, Any]
    packages: Mapping[str, str]
    imported: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What `prune` removed, or would remove: keys of images, digests of files, bytes on disk."""

    images: tuple[str, ...]
    objects: tuple[str, ...]
    bytes_freed: int


class ImageStore:
    """The folder of images. Any number of processes may use it at once; it survives being killed at any moment.

    Args:
        root: The folder; made by the first build.
        architecture: `amd64` or `arm64`; None for the host's own.
        suite: Debian release of new images; None for the host's own, or `bookworm` where the host is not Debian.
        agent: The compiled agent; None for the one that comes with Emberbox.
    """

    def __init__(
        self, root: Path, *, architecture: str | None = None, suite: str | None = None, agent: Path | None = None
    ) -> None:
        self._layout = Layout(root)
        self._objects = ObjectStore(self._layout.objects)
        self._architecture = architecture
        self._suite = suite
        self._agent = agent
        self._agent_digest: tuple[tuple[int, int, int], str] | None = None

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self._layout.root

    @property
    def architecture(self) -> str:
        """Debian's name of the images' architecture; raises `RequirementMissing` on hosts that are not supported."""
        if self._architecture is None:
            self._architecture = host_architecture()
        return self._architecture

    @property
    def suite(self) -> str:
        """The Debian release of new images."""
        if self._suite is None:
            self._suite = host_suite()
        return self._suite

    @property
    def agent(self) -> Path:
        """The compiled agent that goes into new images."""
        return self._agent if self._agent is not None else agent_path(self.architecture)

    def agent_digest(self) -> str:
        """Return the agent's SHA-256, read again only when the file changed; raises `RequirementMissing` without one."""
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
        """Return the image that fits a runtime's files and the agent as they are now; None when it must be built.

        Fast: reads a few small files, asks no tool.
        """
        wanted = self._identity(runtime)
        for _, record in images_in(self._layout.images, runtime.name):
            same = all(record.inputs.get(name) == value for name, value in wanted.items())
            if same and all(self._objects.has(stored) for stored in record.objects.values()):
                return self._image(record)
        return None

    async def build(self, runtime: BuildableRuntime, progress: Progress | None = None, force: bool = False) -> Image:
        """Return a runtime's image, building what is missing of it.

        Args:
            runtime: What to build for.
            progress: Takes news; None for nobody.
            force: True builds all parts anew, with the newest packages.

        Raises:
            RequirementMissing: The host lacks a program, package lists or a right; the message holds what mends it.
            ImageBuildFailed: A step failed; `detail` holds the tool's last output.
            NoSpace: The disk is full.

        Safe to cancel and to repeat: the store is as it was, or holds finished parts. Where another process builds the
        same, this waits for it.
        """
        news: Progress = progress or SilentProgress()
        if not force and (found := self.find(runtime)) is not None:
            news.step("ready", 1.0)
            return found
        agent_digest = self.agent_digest()
        async with self.building(news, force) as builder:
            return await self._build(runtime, builder, news, agent_digest)

    @contextlib.asynccontextmanager
    async def building(self, news: Progress, force: bool = False) -> AsyncIterator[PartBuilder]:
        """Lend a builder of parts; while it is lent, nothing is pruned. May be nested.

        Raises:
            RequirementMissing: The host lacks a program.
            NoSpace: The disk is nearly full.
            DataFolderBusy: Images are being pruned, and that does not end.
        """
        # Imported here: only builds need it, and every start of the engine would pay for it.
        from emberbox.images.build import PartBuilder

        check_requirements()
        self._layout.create()
        async with locked(self._layout.locks / "store.lock", what="pruning images", timeout_s=_WAIT_S, shared=True):
            await self._layout.remove_dead_builds()
            self._layout.require_space(BUILD_SPACE)
            yield PartBuilder(
                self._layout, self._objects, architecture=self.architecture, suite=self.suite, progress=news, force=force
            )

    async def _build(self, runtime: BuildableRuntime, builder: PartBuilder, news: Progress, agent_digest: str) -> Image:
        news.step("kernel", 0.0)
        kernel = await builder.kernel()
        news.step("initramfs", 0.2)
        initramfs = await builder.initramfs(kernel, self.agent, agent_digest)
        news.step("root filesystem", 0.25)
        rootfs = await builder.rootfs(Recipe.of(runtime))
        async with self._layout.build_folder() as folder:
            image = self._record(runtime, agent_digest, kernel, initramfs, rootfs, folder)
        news.step("ready", 1.0)
        return image

    def _record(
        self,
        runtime: BuildableRuntime,
        agent_digest: str,
        kernel: PartRecord,
        initramfs: PartRecord,
        rootfs: PartRecord,
        folder: Path,
    ) -> Image:
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
        record = ImageRecord(
            runtime=runtime.name, key=key_of(inputs), inputs=inputs, objects=objects, built_at=time.time(), about=rootfs.about
        )
        target = self._layout.images / runtime.name
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
        write_atomically(target / f"{record.key}.json", encode(record), folder)
        return self._image(record)

    def list(self) -> list[StoredImage]:
        """Return all images, by runtime, newest first."""
        stored: list[StoredImage] = []
        for _, record in images_in(self._layout.images):
            newest = not stored or stored[-1].image.runtime != record.runtime
            stored.append(
                StoredImage(
                    image=self._image(record),
                    built_at=record.built_at,
                    newest=newest,
                    inputs=record.inputs,
                    packages=record.about.get("packages", {}),
                    imported=record.about.get("imported", {}),
                )
            )
        return stored

    def inspect(self, runtime: str, key: str | None = None) -> StoredImage:
        """Return what is known of a runtime's newest image, or of the one whose key begins with `key`; raises `ImageError`."""
        for stored in self.list():
            if stored.image.runtime == runtime and stored.image.key.startswith(key or ""):
                return stored
        which = f" whose key begins with {key!r}" if key else ""
        raise ImageError(f"there is no image of {runtime!r}{which}; build it: emberbox images build {runtime}")

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
                with locked_now(self._layout.locks / "store.lock", what="pruning images", shared=True):
                    lease.enter_context(locked_now(self._lease_file(image.key), what="pruning images", shared=True))
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                    raise
                _log.debug("no lease on image %s: %s", image.key, error, extra={"action": "images.no_lease"})
            if not all(path.exists() for path in (image.kernel, image.initramfs, image.rootfs)):
                raise ImageCorrupt(
                    f"the image {image.key[:12]} of {image.runtime} is gone; build it again", detail=str(self.root)
                )
            yield image

    def prune(self, *, dry_run: bool = False, keep: Collection[str] = (), gone: Collection[str] = ()) -> PruneReport:
        """Remove images that are neither their runtime's newest, nor leased, nor named in `keep`; then files that none needs.

        Args:
            dry_run: True removes nothing.
            keep: Keys of images to keep.
            gone: Runtimes that are no more: their newest image goes as well.

        Raises:
            DataFolderBusy: An image is being built just now.
        """
        if not self._layout.locks.is_dir():
            return PruneReport(images=(), objects=(), bytes_freed=0)
        with locked_now(self._layout.locks / "store.lock", what="building an image"):
            newest = {stored.image.key for stored in self.list() if stored.newest and stored.image.runtime not in gone}
            return self._sweep(lambda record: record.key in newest or record.key in keep, dry_run=dry_run)

    def remove(self, runtime: str) -> PruneReport:
        """Remove all images of a runtime, then files that no image needs.

        Raises:
            DataFolderBusy: One of them is in use, or an image is being built just now.
        """
        if not self._layout.locks.is_dir():
            return PruneReport(images=(), objects=(), bytes_freed=0)
        with locked_now(self._layout.locks / "store.lock", what="building an image"):
            used = [record for _, record in images_in(self._layout.images, runtime) if is_locked(self._lease_file(record.key))]
            if used:
                raise DataFolderBusy(f"the image {used[0].key[:12]} of {runtime} is in use; end what uses it first")
            return self._sweep(lambda record: record.runtime != runtime, dry_run=False)

    def verify(self, image: Image) -> None:
        """Read an image's files whole and compare them with their digests; raises `ImageCorrupt`. Blocks for about a second."""
        for role in _ROLES:
            path: Path = getattr(image, role)
            self._objects.verify(StoredObject(image.digests[role], path.name, image.sizes[role]))

    def _sweep(self, keeps: Callable[[ImageRecord], bool], *, dry_run: bool) -> PruneReport:
        images = list(images_in(self._layout.images))
        stays = [record for _, record in images if keeps(record) or is_locked(self._lease_file(record.key))]
        kept_keys = {record.key for record in stays}
        needed = {stored.digest for record in stays for stored in record.objects.values()}
        parts = list(parts_in(self._layout.parts))
        kept_parts = {path for path, part in parts if any(stored.digest in needed for stored in part.objects.values())}
        # A kernel's modules are in no image, and yet the next initramfs is made from them.
        needed |= {stored.digest for path, part in parts if path in kept_parts for stored in part.objects.values()}
        doomed_objects = (
            [digest for digest in self._objects.digests() if digest not in needed] if self._layout.objects.is_dir() else []
        )
        freed = sum(self._objects.size(digest) for digest in doomed_objects)
        doomed_images = [(path, record) for path, record in images if record.key not in kept_keys]
        if not dry_run:
            for path in [path for path, _ in doomed_images] + [path for path, _ in parts if path not in kept_parts]:
                path.unlink(missing_ok=True)
            for digest in doomed_objects:
                self._objects.remove(digest)
        return PruneReport(
            images=tuple(record.key for _, record in doomed_images), objects=tuple(doomed_objects), bytes_freed=freed
        )

    def _identity(self, runtime: BuildableRuntime, agent_digest: str | None = None) -> dict[str, Any]:
        return {
            "runtime": runtime.fingerprint,
            "agent": agent_digest or self.agent_digest(),
            "builder": BUILDER_VERSION,
            "modules": modules_digest(),
            "suite": self.suite,
            "architecture": self.architecture,
        }

    def _image(self, record: ImageRecord) -> Image:
        return Image(
            runtime=record.runtime,
            key=record.key,
            kernel=self._objects.path(record.objects["kernel"]),
            initramfs=self._objects.path(record.objects["initramfs"]),
            rootfs=self._objects.path(record.objects["rootfs"]),
            sizes={role: record.objects[role].size for role in _ROLES},
            digests={role: record.objects[role].digest for role in _ROLES},
        )

    def _lease_file(self, key: str) -> Path:
        return self._layout.locks / f"image-{key}.lock"
