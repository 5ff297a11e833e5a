"""Removes images, and then the files that no image needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.files.locks import is_locked
from emberbox.images.records import OF_ITS_FILES, images_in, key_of, parts_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from emberbox.images.layout import Layout
    from emberbox.images.objects import ObjectStore
    from emberbox.images.records import ImageRecord, PartRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What `prune` removed, or would remove: keys of images, digests of files, bytes on disk."""

    images: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    bytes_freed: int = 0


def sweep(
    layout: Layout,
    objects: ObjectStore,
    kernel: PartRecord | None,
    keeps: Callable[[ImageRecord], bool],
    *,
    dry_run: bool,
) -> PruneReport:
    """Remove the images that are neither kept nor leased, then parts and files that none needs.

    Args:
        layout: The store's folders; the caller holds the store's lock.
        objects: Its files.
        kernel: The kernel of somebody's own that is used, which stays; None for Debian's.
        keeps: Tells whether an image stays.
        dry_run: True removes nothing.
    """
    images, parts = list(images_in(layout.images)), list(parts_in(layout.parts))
    stays = [record for _, record in images if keeps(record) or is_locked(layout.lease_file(record.key))]
    needed, doomed_parts = _needed([*stays, *(() if kernel is None else (kernel,))], parts)
    there = objects.digests() if layout.objects.is_dir() else ()
    doomed_objects = [digest for digest in there if digest not in needed]
    freed = sum(objects.size(digest) for digest in doomed_objects)
    kept_keys = {record.key for record in stays}
    doomed_images = [(path, record) for path, record in images if record.key not in kept_keys]
    if not dry_run:
        for path in (*(path for path, _ in doomed_images), *doomed_parts):
            path.unlink(missing_ok=True)
        for digest in doomed_objects:
            objects.remove(digest)
    return PruneReport(
        images=tuple(record.key for _, record in doomed_images),
        objects=tuple(doomed_objects),
        bytes_freed=freed,
    )


def superseded(records: Iterable[ImageRecord]) -> set[str]:
    """Return the keys of images that a newer one of the same recipe has taken the place of.

    Args:
        records: Each runtime's newest first.
    """
    seen: set[tuple[str, str]] = set()
    old: set[str] = set()
    for record in records:
        # What its files were built from, the versions of packages left out.
        recipe = {name: value for name, value in record.inputs.items() if name not in OF_ITS_FILES}
        place = (record.runtime, key_of(recipe))
        if place in seen:
            old.add(record.key)
        seen.add(place)
    return old


def _needed(
    stays: Sequence[ImageRecord | PartRecord], parts: Sequence[tuple[Path, PartRecord]]
) -> tuple[set[str], list[Path]]:
    """Return the digests of the files that are needed, and the records of the parts that are not."""
    needed = {stored.digest for record in stays for stored in record.objects.values()}
    doomed: list[Path] = []
    # A kernel's modules are in no image, and yet the next initramfs is made from them.
    beside: set[str] = set()
    for path, part in parts:
        digests = {stored.digest for stored in part.objects.values()}
        if digests & needed:
            beside |= digests
        else:
            doomed.append(path)
    return needed | beside, doomed
