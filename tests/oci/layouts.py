"""Writes OCI layouts and docker archives: what `emberbox images import` reads."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def entry(
    name: str, data: bytes | None = None, *, kind: bytes = tarfile.REGTYPE, **values: Any
) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a layer; without `data` a folder, unless `kind` says otherwise."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE if data is None and kind == tarfile.REGTYPE else kind
    member.mode = 0o755
    member.size = len(data or b"")
    for field_name, value in values.items():
        setattr(member, field_name, value)
    return member, data or b""


def link(name: str, target: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    """Return a link as an entry of a layer."""
    return entry(name, kind=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=target)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a layer, not packed."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in entries:
            tar.addfile(member, io.BytesIO(data))
    return output.getvalue()


@dataclass
class Made:
    """An image as it is to be written.

    Args:
        layers: Not packed, lowest first.
        run: The configuration's `config`: Env, User, Entrypoint and so on.
        architecture, system: What it says it is for.
        packed: Whether layers are packed with gzip.
        config_type, layer_type: Media types.
        more: Added to the manifest.
    """

    layers: Sequence[bytes]
    run: dict[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    system: str = "linux"
    packed: bool = True
    config_type: str = CONFIG
    layer_type: str = LAYER
    more: dict[str, Any] = field(default_factory=dict)

    def config(self) -> bytes:
        """Return the configuration."""
        diffs = [digest(data) for data in self.layers]
        values = {"architecture": self.architecture, "os": self.system, "config": self.run}
        return json.dumps({**values, "rootfs": {"type": "layers", "diff_ids": diffs}}).encode()


def digest(data: bytes) -> str:
    """Return a digest as images write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layout:
    """An OCI layout on the disk.

    Args:
        folder: Made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._entries: list[dict[str, Any]] = []

    def blob(self, data: bytes, kind: str) -> dict[str, Any]:
        """Store some bytes; returns what refers to them."""
        self.path(digest(data)).write_bytes(data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def path(self, of: str) -> Path:
        """Return where the bytes of a digest lie."""
        return self.folder / "blobs" / of.replace(":", "/")

    def image(self, made: Made) -> dict[str, Any]:
        """Store an image without naming it."""
        layers = [
            self.blob(
                gzip.compress(data, mtime=0) if made.packed else data,
                made.layer_type + ("+gzip" if made.packed else ""),
            )
            for data in made.layers
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(made.config(), made.config_type),
            "layers": layers,
            **made.more,
        }
        return self.blob(json.dumps(manifest).encode(), MANIFEST)

    def add(self, tag: str, made: Made) -> str:
        """Store an image under a tag; returns its digest."""
        return self.name(tag, self.image(made))

    def index(self, tag: str, images: Sequence[Made]) -> list[str]:
        """Store an index of images for several platforms under a tag; returns the images' digests."""
        stored = [
            {**self.image(made), "platform": {"os": made.system, "architecture": made.architecture}}
            for made in images
        ]
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": stored}).encode()
        self.name(tag, self.blob(data, INDEX))
        return [str(one["digest"]) for one in stored]

    def name(self, tag: str, descriptor: dict[str, Any]) -> str:
        """Give something stored a tag, which it takes from what had it."""
        self._entries = [
            old for old in self._entries if old["annotations"]["org.opencontainers.image.ref.name"] != tag
        ]
        self._entries.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._entries}))
        return str(descriptor["digest"])


def docker_archive(file: Path, made: Made, name: str = "test:1") -> None:
    """Write an image as `docker save` does."""
    config = made.config()
    parts = {f"{hashlib.sha256(config).hexdigest()}.json": config}
    parts |= {f"{number}/layer.tar": data for number, data in enumerate(made.layers)}
    names = list(parts)
    parts["manifest.json"] = json.dumps(
        [{"Config": names[0], "RepoTags": [name], "Layers": names[1:]}]
    ).encode()
    with tarfile.open(file, "w") as tar:
        for part, data in parts.items():
            member, _ = entry(part, data)
            tar.addfile(member, io.BytesIO(data))
