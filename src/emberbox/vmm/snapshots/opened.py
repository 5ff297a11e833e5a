"""A snapshot that is held open, for clones to be made from it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed
from emberbox.tasks import acquired

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.snapshots.files import SnapshotRecord


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot's record, and open descriptors of its memory and of its device state."""

    record: SnapshotRecord
    memory: int
    state: int

    def close(self) -> None:
        """Close both; once only. Gives back as many pages as a memory that nobody else holds has."""
        os.close(self.memory)
        os.close(self.state)


async def hold(opening: Callable[[], Held]) -> Held:
    """Run `opening` beside the loop. Safe to cancel: what it opens then is closed. Raises what it raises."""
    return await acquired(asyncio.to_thread(opening), lambda held: asyncio.to_thread(held.close))


class OpenedSnapshot:
    """What the opened snapshots of all drivers share (see `LoadedSnapshot`)."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._closed = False

    async def close(self) -> None:
        """Let go of the memory. Clones that live go on; repeating is harmless."""
        if not self._closed:
            self._closed = True
            await self._settle()
            await asyncio.to_thread(self._held.close)

    def _check(self, spec: MachineSpec) -> None:
        """Raise `SnapshotFailed` unless a clone of this spec can be made."""
        if self._closed:
            raise SnapshotFailed("the snapshot was closed")
        self._held.record.check_clone(spec)

    async def _settle(self) -> None:
        """Wait until nothing uses what is held open any more but clones."""
