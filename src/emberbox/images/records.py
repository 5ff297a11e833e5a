"""What the store writes down about parts and images, as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.images.objects import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_R = TypeVar("_R", bound="Record")
BUILDER_VERSION = 1
"""Raised whenever the same inputs give another image."""

OF_ITS_FILES = frozenset(
    {"kernel_package", "kernel_version", "kernel_digest", "initramfs_digest", "rootfs_digest"}
)
"""What an image's inputs say of its files: images that differ in nothing else are of one recipe."""


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return the key of what is built: the SHA-256, as hex, over inputs, whatever their order."""
    text = json.dumps(dict(inputs), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Something that was built.

    Args:
        key: Hash of `inputs`.
        inputs: What it was made from.
        objects: Its files by role.
        built_at: Unix time in seconds.
        about: For people: package versions.
    """

    key: str
    inputs: Mapping[str, Any]
    objects: Mapping[str, StoredObject]
    built_at: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord(Record):
    """A part, by its `kind`: a `kernel` with its modules, an `initramfs` or a `rootfs`."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord(Record):
    """A runtime's image: which objects it consists of and what its key was made from."""

    runtime: str


def read_record(path: Path, kind: type[_R]) -> _R | None:
    """Read a record; None where there is none that can be read: what it stood for is built again."""
    try:
        values = json.loads(path.read_bytes())
        values["objects"] = {role: StoredObject(**stored) for role, stored in values["objects"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return kind(**values)


def parts_in(folder: Path) -> Iterator[tuple[Path, PartRecord]]:
    """Go through the records of parts below a folder."""
    for path in sorted(folder.glob("*/*.json")):
        if (record := read_record(path, PartRecord)) is not None:
            yield path, record


def images_in(folder: Path, runtime: str = "*") -> Iterator[tuple[Path, ImageRecord]]:
    """Go through image records below a folder, of all runtimes or one, each runtime's newest first."""
    found = [
        (path, record)
        for path in folder.glob(f"{runtime}/*.json")
        if (record := read_record(path, ImageRecord)) is not None
    ]
    yield from sorted(found, key=lambda entry: (entry[1].runtime, -entry[1].built_at))
