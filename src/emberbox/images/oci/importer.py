"""From a reference to a stored root filesystem and what its runtime is to say."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from emberbox.errors import ImageImportFailed
from emberbox.images.oci import bounds
from emberbox.images.oci.apply import LayerReader
from emberbox.images.oci.base_files import add_base_files
from emberbox.images.oci.layer import Budget, unpack_layer
from emberbox.images.oci.manifest import (
    ImageConfig,
    Manifest,
    choose,
    digest_of,
    parse_config,
    parse_manifest,
)
from emberbox.images.oci.skopeo import Access, Skopeo, copied
from emberbox.images.oci.tree import Tree
from emberbox.images.oci.users import GuestUser, find_user
from emberbox.images.oci.write import LayerContents, write_tree
from emberbox.images.records import BUILDER_VERSION, key_of
from emberbox.images.rootfs.ext4 import make_ext4
from emberbox.images.tools.process import in_thread

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.images.build import Made, PartBuilder
    from emberbox.images.oci.reference import Reference
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.ext4 import Owner

_SPACE_FACTOR = 4
"""An image lies on the disk as it was copied (packed), as tars, as a folder and as a file system,
for a moment all at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How an image is imported.

    Args:
        architecture: `amd64` or `arm64`.
        access: How a registry is spoken to.
        user: Whom its programs run as, as an image names it; None for the image's own choice.
    """

    architecture: str
    access: Access = field(default_factory=Access)
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRoot:
    """A stored root filesystem, and what its image says of how it is used.

    Args:
        digest: The image's digest: its manifest's.
        source: The reference that it came from.
        user: Whom programs run as, `uid:gid`; None for Emberbox's unprivileged user.
        home: That user's home folder; None for the usual one.
        env: The image's variables.
        cwd: Its working folder; None where it names none.
        entrypoint, cmd: Its program and arguments.
        known: Whether it was stored already.
        dropped: Devices, pipes and sockets that were left out.
    """

    digest: str
    source: str
    user: str | None
    home: str | None
    env: Mapping[str, str]
    cwd: str | None
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    known: bool
    dropped: int


async def import_root(
    builder: PartBuilder, reference: Reference, options: ImportOptions, folder: Path, progress: Progress
) -> ImportedRoot:
    """Have an image's root filesystem in the store. One whose digest is stored already is not copied again.

    Args:
        builder: Lent by `ImageStore.building`.
        reference: The image.
        options: How it is imported.
        folder: An empty folder, which the caller removes.
        progress: Takes news.

    Raises:
        ImageImportFailed: It cannot be had or used; the message says why. Nothing is left of it.
        RequirementMissing: The host lacks skopeo.
        NoSpace: The disk is full.
    """
    skopeo = Skopeo(reference, options.architecture, options.access, folder)
    progress.step(f"looking up {reference}", 0.0)
    raw = await skopeo.manifest()
    digest = choose(raw, options.architecture, str(reference))
    if digest is None:
        parse_manifest(raw, str(reference))
        digest = digest_of(raw)
    inputs = {
        "imported": digest,
        "user": options.user,
        "architecture": options.architecture,
        "builder": BUILDER_VERSION,
    }
    known = builder.known("rootfs", key_of(inputs))

    async def work(scratch: Path) -> Made:
        image = _CopiedImage(scratch, reference, options)
        progress.step("copying the image", 0.1)
        await skopeo.copy(digest, image.folder, progress)
        return await image.store(builder, digest, progress)

    part = known or await builder.part("rootfs", inputs, work)
    return _imported(part.about, digest, str(reference), known=known is not None)


class _CopiedImage:
    """An image that was copied into a folder and becomes a root filesystem there."""

    def __init__(self, scratch: Path, reference: Reference, options: ImportOptions) -> None:
        self._scratch = scratch
        self._what = str(reference)
        self._options = options
        self.folder = scratch / "image"

    async def store(self, builder: PartBuilder, digest: str, progress: Progress) -> Made:
        """Check the image, make its root filesystem and add that to the store."""
        manifest, config = self._read(digest)
        builder.layout.require_space(_SPACE_FACTOR * sum(layer.size for layer in manifest.layers))
        progress.step("unpacking its layers", 0.4)
        root = self._scratch / "root"
        owners, user, dropped = await in_thread(functools.partial(self._unpack, manifest, config, root))
        progress.step("root filesystem", 0.6)
        image = self._scratch / "rootfs.ext4"
        await make_ext4(root, image, owners)
        stored = await asyncio.to_thread(builder.objects.add, image, "rootfs.ext4")
        about = {
            "imported": {"source": self._what, "digest": digest},
            "user": str(user) if user is not None else None,
            "home": user.home if user is not None else None,
            "env": config.env,
            "cwd": config.cwd or None,
            "entrypoint": config.entrypoint,
            "cmd": config.cmd,
            "dropped": dropped,
        }
        return {"rootfs": stored}, about

    def _read(self, digest: str) -> tuple[Manifest, ImageConfig]:
        manifest = parse_manifest(copied(self.folder, "manifest.json", bounds.MANIFEST_BYTES), self._what)
        if manifest.digest != digest:
            raise ImageImportFailed(f"{self._what} changed while it was copied; import it again")
        data = copied(self.folder, manifest.config.file_name, bounds.CONFIG_BYTES)
        if digest_of(data) != manifest.config.digest:
            raise ImageImportFailed(f"{self._what} is corrupt: its configuration is not what its digest says")
        config = parse_config(data, self._what)
        if (config.system, config.architecture) != ("linux", self._options.architecture):
            raise ImageImportFailed(
                f"{self._what} is made for {config.system[:40]}/{config.architecture[:40]}, and this host is "
                f"linux/{self._options.architecture}"
            )
        if len(config.layer_digests) != len(manifest.layers):
            raise ImageImportFailed(
                f"{self._what} is broken: its configuration and its manifest name different numbers of layers"
            )
        return manifest, config

    def _unpack(
        self, manifest: Manifest, config: ImageConfig, root: Path, stop: threading.Event
    ) -> tuple[dict[str, Owner], GuestUser | None, int]:
        tree, budget = Tree(), Budget()
        with contextlib.ExitStack() as files:
            layers: list[IO[bytes]] = []
            dropped = 0
            for number, (blob, digest) in enumerate(zip(manifest.layers, config.layer_digests, strict=True)):
                packed, plain = self.folder / blob.file_name, self._scratch / f"layer-{number}.tar"
                unpack_layer(blob, packed, plain, digest, budget, stop)
                stream = files.enter_context(plain.open("rb"))
                # Its name is not needed any more, and its space is given back with the last reader.
                plain.unlink()
                layers.append(stream)
                reader = LayerReader(tree, number, budget)
                reader.read(stream, stop)
                dropped += reader.dropped
            shutil.rmtree(self.folder)
            contents = LayerContents(layers)
            named = config.user if self._options.user is None else self._options.user
            user = find_user(named, functools.partial(_text, tree, contents)) if named else None
            add_base_files(tree, str(user) if user is not None else None, config.cwd or None)
            owners = write_tree(tree, root, contents, stop)
        return owners, user, dropped


def _text(tree: Tree, contents: LayerContents, path: str) -> str:
    """Return a text file of the image; empty where it is missing, or too long for one of accounts."""
    node = tree.find(path)
    if node is None or node.kind != "file" or node.source is None or node.size > bounds.HEADER_BYTES:
        return ""
    return contents.read(node, bounds.HEADER_BYTES).decode("utf-8", "replace")


def _imported(about: Mapping[str, Any], digest: str, source: str, *, known: bool) -> ImportedRoot:
    return ImportedRoot(
        digest=digest,
        source=source,
        user=about["user"],
        home=about["home"],
        env=about["env"],
        cwd=about["cwd"],
        entrypoint=tuple(about["entrypoint"]),
        cmd=tuple(about["cmd"]),
        known=known,
        dropped=about["dropped"],
    )
