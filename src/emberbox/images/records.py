"""What the store writes down about parts and images, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from emberbox.images.objects import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """A built part: a kernel with its modules, an initramfs or a root filesystem.

    Args:
        kind: `kernel`, `initramfs` or `rootfs`.
        key: Hash of `inputs`.
        inputs: What it was made from.
        objects: Its files by role.
        built_at: Unix time in seconds.
        about: For people: package versions.
    """

    kind: str
    key: str
    inputs: Mapping[str, Any]
    objects: Mapping[str, StoredObject]
    built_at: float
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A runtime's image: which objects it consists of and what its key was made from."""

    runtime: str
    key: str
    inputs: Mapping[str, Any]
    objects: Mapping[str, StoredObject]
    built_at: float
    about: Mapping[str, Any] = field(default_factory=dict)


def encode(record: PartRecord | ImageRecord) -> bytes:
    """Return a record as JSON."""
    return json.dumps(asdict(record), indent=1, sort_keys=True).encode()


def read_part(path: Path) -> PartRecord | None:
    """Read a part's record; None where there is none that can be read."""
    values = _read(path)
    return None if values is None else PartRecord(**values)


def read_image(path: Path) -> ImageRecord | None:
    """Read an image's record; None where there is none that can be read."""
    values = _read(path)
    return None if values is None else ImageRecord(**values)


def parts_in(folder: Path) -> Iterator[tuple[Path, PartRecord]]:
    """Go through the records of parts below a folder."""
    for path in sorted(folder.glob("*/*.json")):
        record = read_part(path)
        if record is not None:
            yield path, record


def images_in(folder: Path, runtime: str = "*") -> Iterator[tuple[Path, ImageRecord]]:
    """Go through image records below a folder, of all runtimes or one, each runtime's newest first."""
    found = [
        (path, record)
        for path in folder.glob(f"{runtime}/*.json")
        if (record := read_image(path)) is not None
    ]
    yield from sorted(found, key=lambda entry: (entry[1].runtime, -entry[1].built_at))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
        values["objects"] = {role: StoredObject(**stored) for role, stored in values["objects"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A record that cannot be read is as good as none: what it stood for is built again.
        return None
    return dict(values)
