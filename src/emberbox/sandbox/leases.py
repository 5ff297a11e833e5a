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
        self._held: dict[str, ExitStack] = {}

    async def hold(self, key: str, lease: Callable[[], AbstractContextManager[object]]) -> None:
        """Keep something from being removed. Repeating is free.

        Args:
            key: Of an image or a layer.
            lease: Takes it out; raises `DataFolderBusy` while somebody removes what nobody uses.

        Raises:
            DataFolderBusy: Somebody has been at it for `LEASE_S` seconds.
        """
        deadline = time.monotonic() + LEASE_S
        while key not in self._held:
            try:
                with ExitStack() as held:
                    held.enter_context(lease())
                    self._held[key] = held.pop_all()
            except DataFolderBusy:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)

    def drop(self, key: str) -> None:
        """Let go of something; what is not held is fine."""
        if (held := self._held.pop(key, None)) is not None:
            held.close()

    def close(self) -> None:
        """End all leases."""
        for key in list(self._held):
            self.drop(key)
