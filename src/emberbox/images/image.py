"""An image that is ready for use, and what its store knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.images.objects import ObjectStore
    from emberbox.images.records import ImageRecord

ROLES = ("kernel", "initramfs", "rootfs")


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
        newest: Whether it is the runtime's newest with the kernel that is used, or its newest at
            all where there is none.
        inputs: What its key was made from: suite, architecture, kernel version, agent.
        packages: Versions of the installed Debian packages by name.
        libraries: Versions of languages' packages by `python`, `npm`, `ruby` or `r`, and by name;
            empty where an earlier release built it.
        imported: Of an imported image: `source` and `digest`; else empty.
    """

    image: Image
    built_at: float
    newest: bool
    inputs: Mapping[str, Any]
    packages: Mapping[str, str]
    libraries: Mapping[str, Mapping[str, str]]
    imported: Mapping[str, Any] = field(default_factory=dict)


def image_of(record: ImageRecord, objects: ObjectStore) -> Image:
    """Return the image that a record is of; its files need not be there."""
    return Image(
        runtime=record.runtime,
        key=record.key,
        kernel=objects.path(record.objects["kernel"]),
        initramfs=objects.path(record.objects["initramfs"]),
        rootfs=objects.path(record.objects["rootfs"]),
        sizes={role: record.objects[role].size for role in ROLES},
        digests={role: record.objects[role].digest for role in ROLES},
    )
