"""What an engine uses, such as images and layers, kept from being removed for as long as it runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from emberbox.errors import DataFolderBusy

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE_S = 30.0
"""How long removing what nobody uses, which takes a moment, may hold up a lease."""
_AGAIN_S = 0.05


class Leases:
    """The leases of one engine."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._keys: set[str] = set()

    async def hold(self, key: str, lease: Callable[[], AbstractContextManager[object]]) -> None:
        """Keep something from being removed. Repeating is free.

        Args:
            key: Of an image or a layer.
            lease: Takes it out; raises `DataFolderBusy` while somebody removes what nobody uses.

        Raises:
            DataFolderBusy: Somebody has been at it for `LEASE_S` seconds.
        """
        deadline = time.monotonic() + LEASE_S
        while key not in self._keys:
            try:
                self._held.enter_context(lease())
                self._keys.add(key)
            except DataFolderBusy:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)

    def close(self) -> None:
        """End all leases."""
        self._held.close()
