"""Reads an image's manifest and configuration, which come from strangers."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from emberbox.errors import ImageImportFailed
from emberbox.images.oci import bounds

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Blob:
    """A part of an image: its digest, its size in bytes and what it says it is."""

    digest: str
    size: int
    media_type: str

    @property
    def file_name(self) -> str:
        """The name that it is copied to."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's manifest: where its configuration and its layers, lowest first, are."""

    digest: str
    config: Blob
    layers: tuple[Blob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says of itself.

    Args:
        architecture, system: What it was made for, as Go names them.
        layer_digests: Digest of each unpacked layer, lowest first.
        env: Variables; names that no shell could set are left out.
        user: As it stands there: names or numbers, with or without a group; empty for none.
        cwd: Working folder; empty for none.
        entrypoint, cmd: Program and arguments, and the usual arguments.
    """

    architecture: str
    system: str
    layer_digests: tuple[str, ...]
    env: dict[str, str]
    user: str
    cwd: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]


def digest_of(data: bytes) -> str:
    """Return the digest of some bytes as images write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def choose(data: bytes, architecture: str, what: str) -> str | None:
    """Return an architecture's manifest digest from an index; None where `data` is a manifest itself.

    Raises:
        ImageImportFailed: The index has none for this architecture; the message names those that it has.
    """
    values = _json(data, what)
    if values.get("mediaType") not in _INDEXES and not isinstance(values.get("manifests"), list):
        return None
    offered: list[str] = []
    entries = values.get("manifests")
    for entry in entries if isinstance(entries, list) else []:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(platform, dict):
            continue
        system, machine = str(platform.get("os", "")), str(platform.get("architecture", ""))
        if (system, machine) == ("linux", architecture):
            return _digest(entry.get("digest"), what)
        offered.append(f"{system}/{machine}"[:40])
    shown = ", ".join(sorted(set(offered) - {"unknown/unknown"})[:_SHOWN]) or "no platform at all"
    raise ImageImportFailed(
        f"{what} does not exist for linux/{architecture}, which this host is; it exists for {shown}"
    )


def parse_manifest(data: bytes, what: str) -> Manifest:
    """Read a manifest; raises `ImageImportFailed` for one that is broken, outdated or of no image."""
    values = _json(data, what)
    if values.get("schemaVersion") == 1:
        raise ImageImportFailed(
            f"{what} has a manifest of the outdated schema 1; push it again with a tool of this decade"
        )
    config, layers = values.get("config"), values.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise ImageImportFailed(f"{what} has a manifest that names no configuration and layers")
    kind = config.get("mediaType")
    if kind not in _CONFIGS or values.get("artifactType") is not None:
        raise ImageImportFailed(
            f"{what} is no image to be run but an artifact of the kind {values.get('artifactType') or kind!r}"
        )
    if len(layers) > bounds.LAYERS:
        raise ImageImportFailed(f"{what} has {len(layers)} layers; at most {bounds.LAYERS} are supported")
    blobs = tuple(_blob(layer, what) for layer in layers)
    if sum(blob.size for blob in blobs) > bounds.UNPACKED_BYTES:
        raise ImageImportFailed(
            f"{what} is larger than {bounds.UNPACKED_BYTES // 1024**3} GiB; it is not imported"
        )
    for blob in blobs:
        if "encrypted" in blob.media_type:
            raise ImageImportFailed(f"{what} has an encrypted layer; decrypt the image first")
    return Manifest(digest_of(data), _blob(config, what), blobs)


def parse_config(data: bytes, what: str) -> ImageConfig:
    """Read a configuration; raises `ImageImportFailed` for a broken one."""
    values = _json(data, what)
    run, roots = values.get("config") or {}, values.get("rootfs")
    diffs = roots.get("diff_ids") if isinstance(roots, dict) else None
    if not isinstance(run, dict) or not isinstance(diffs, list):
        raise ImageImportFailed(f"{what} has a configuration that names no layers")
    return ImageConfig(
        architecture=_text(values.get("architecture"), "architecture", what),
        system=_text(values.get("os"), "os", what),
        layer_digests=tuple(_digest(diff, what) for diff in diffs),
        env=_variables(_texts(run.get("Env"), "Env", what)),
        user=_text(run.get("User"), "User", what),
        cwd=_text(run.get("WorkingDir"), "WorkingDir", what),
        entrypoint=_texts(run.get("Entrypoint"), "Entrypoint", what),
        cmd=_texts(run.get("Cmd"), "Cmd", what),
    )


def _json(data: bytes, what: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageImportFailed(
            f"{what} is broken: what describes it is no JSON", detail=str(error)
        ) from error
    if not isinstance(values, dict):
        raise ImageImportFailed(f"{what} is broken: what describes it is no JSON object")
    return values


def _blob(value: Any, what: str) -> Blob:
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImageImportFailed(f"{what} is broken: its manifest names a part without a size")
    return Blob(_digest(value.get("digest"), what), size, str(value.get("mediaType", "")))


def _digest(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ImageImportFailed(f"{what} is broken: {str(value)[:80]!r} is no SHA-256 digest")
    return value


def _text(value: Any, field: str, what: str) -> str:
    value = "" if value is None else value
    if (
        not isinstance(value, str)
        or "\0" in value
        or any(0xD800 <= ord(character) < 0xE000 for character in value)
    ):
        raise ImageImportFailed(f"{what} is broken: {field} in its configuration is no text")
    return value


def _texts(value: Any, field: str, what: str) -> tuple[str, ...]:
    if value is not None and not isinstance(value, list):
        raise ImageImportFailed(f"{what} is broken: {field} in its configuration is no list")
    return tuple(_text(entry, field, what) for entry in value or [])


def _variables(entries: tuple[str, ...]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)}
