"""The images that an engine uses, kept from being pruned for as long as it runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from emberbox.errors import DataFolderBusy

if TYPE_CHECKING:
    from emberbox.images import Image, ImageStore

LEASE_S = 30.0
"""How long pruning, which takes a moment, may hold up the use of an image."""
_AGAIN_S = 0.05


class LeasedImages:
    """Leases on images of one store.

    Args:
        images: The store.
    """

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._leases = ExitStack()
        self._leased: set[str] = set()

    async def lease(self, image: Image) -> None:
        """Keep the image from being pruned. Repeating is free.

        Raises:
            DataFolderBusy: Somebody has been pruning for `LEASE_S` seconds.
        """
        deadline = time.monotonic() + LEASE_S
        while image.key not in self._leased:
            try:
                self._leases.enter_context(self._images.lease(image))
                self._leased.add(image.key)
            except DataFolderBusy:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)

    def close(self) -> None:
        """End all leases."""
        self._leases.close()
