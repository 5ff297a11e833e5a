"""The blob store: large bytes, by key. `open_blobs` makes the one that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.blobs.base import BlobInfo, BlobStore, check_key

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import BlobSettings

__all__ = ["BlobInfo", "BlobStore", "check_key", "open_blobs"]


def open_blobs(settings: BlobSettings, data: Path) -> BlobStore:
    """Return the blob store that the settings name: below `data`, or an S3 bucket. Connects to nothing yet.

    Raises:
        InvalidSettings: `blobs.url` or `blobs.endpoint` has a mistake.
    """
    if not settings.url:
        from emberbox.blobs.local import LocalBlobs

        return LocalBlobs(data / "blobs")
    from emberbox.blobs.s3 import S3Blobs

    return S3Blobs(settings.url, endpoint=settings.endpoint)
