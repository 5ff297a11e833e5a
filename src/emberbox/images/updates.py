"""Finds the images whose packages Debian has newer versions of, and renews them.

An image's record names each package with its version. The release's lists, those of its security
archive too, name the newest ones. Comparing the two tells what is to be done without building
anything.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.images.debian.archive import open_archive
from emberbox.images.debian.newer import PackageChange, changed_packages, newer_packages
from emberbox.images.kernels.kernel import newest_kernel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from emberbox.images.debian.newer import Offered
    from emberbox.images.image import Image, StoredImage
    from emberbox.images.progress import Progress
    from emberbox.images.records import PartRecord
    from emberbox.images.rootfs.recipe import BuildableRuntime
    from emberbox.images.store import ImageStore

KERNEL = "linux-image-cloud"
"""The kernel's name among an image's packages: the package's own has a version in it."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a release has now.

    Args:
        suite: The release, such as `bookworm`.
        offered: Versions by package, the kernel's by `KERNEL`.
    """

    suite: str
    offered: Mapping[str, Sequence[Offered]]

    def has_no_newer(self, part: PartRecord) -> bool:
        """Tell whether a part is made of the newest packages; those of other releases count as such."""
        if part.inputs.get("suite") != self.suite:
            return True
        versions = part.about.get("packages", {})
        if part.kind == "kernel":
            versions = {KERNEL: str(part.about.get("version", "0"))}
        return not newer_packages(versions, self.offered)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUpdate:
    """An image, and how it differs from what its release has, or from the one that took its place.

    Args:
        runtime: What it is of.
        before: The image that runs get when this is made.
        outlook: What the release has.
        changes: By package; empty where nothing is newer.
        image: The new image; None where none was made.
    """

    runtime: BuildableRuntime
    before: StoredImage
    outlook: Outlook
    changes: tuple[PackageChange, ...]
    image: Image | None = None


async def look_for_updates(
    images: ImageStore, runtimes: Iterable[BuildableRuntime], progress: Progress
) -> list[ImageUpdate]:
    """Return the images that runs of these runtimes get now, and which of their packages are newer by now.

    Left out are runtimes that have no image yet, and imported images, whose packages are not
    Debian's. Builds nothing; fetches the lists of each release once.

    Args:
        images: The store.
        runtimes: Those to look at.
        progress: Takes what apt prints.

    Raises:
        RequirementMissing: A program is missing, or nobody on this host vouches for a release.
        ImageBuildFailed: The mirror cannot be reached.
    """
    await images.prepare_kernel(progress)
    found: dict[str, list[tuple[BuildableRuntime, StoredImage]]] = {}
    for runtime in runtimes:
        image = images.find(runtime)
        if image is not None and runtime.image.imported is None:
            entry = (runtime, images.inspect(runtime.name, image.key))
            found.setdefault(runtime.image.suite, []).append(entry)
    updates: list[ImageUpdate] = []
    for suite, entries in found.items():
        names = {name for _, stored in entries for name in stored.packages}
        outlook = await _outlook(suite, images.architecture, names, progress)
        updates += [
            ImageUpdate(
                runtime=runtime,
                before=stored,
                outlook=outlook,
                changes=newer_packages(_versions(stored), outlook.offered),
            )
            for runtime, stored in entries
        ]
    return sorted(updates, key=lambda update: update.runtime.name)


async def renew(
    images: ImageStore,
    update: ImageUpdate,
    before_use: Callable[[Image], Awaitable[None]],
    progress: Progress,
) -> ImageUpdate:
    """Build the image anew by the newest packages; return it with all that changed.

    Parts that are up to date by now are taken as they are. The old image stays, and what runs on it
    goes on. Raises as `ImageStore.renew`.
    """
    image = await images.renew(update.runtime, update.outlook.has_no_newer, before_use, progress)
    after = _versions(images.inspect(update.runtime.name, image.key))
    changes = changed_packages(
        _versions(update.before), after, (change.package for change in update.changes if change.security)
    )
    return ImageUpdate(
        runtime=update.runtime, before=update.before, outlook=update.outlook, changes=changes, image=image
    )


async def _outlook(suite: str, architecture: str, packages: Iterable[str], progress: Progress) -> Outlook:
    with tempfile.TemporaryDirectory(prefix="emberbox-") as name:
        archive = await open_archive(suite, architecture, Path(name), progress)
        kernel, _ = await newest_kernel(archive, architecture)
        offered = await archive.offered({kernel, *packages})
    return Outlook(suite, {**offered, KERNEL: offered.get(kernel, ())})


def _versions(stored: StoredImage) -> dict[str, str]:
    """Return the versions of an image's packages, the kernel's too unless it is somebody's own."""
    kernel = stored.inputs.get("kernel_version")
    own = stored.inputs.get("kernel") is not None
    return {**stored.packages, **({} if own or kernel is None else {KERNEL: str(kernel)})}
