"""Freezing a machine to files: to the end, or nothing of it is left."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed
from emberbox.vmm.failures import told_as, undone_on_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emberbox.vmm.base import Machine


@asynccontextmanager
async def freezing(machine: Machine, discard: Callable[[], object]) -> AsyncIterator[None]:
    """Tell what goes wrong inside as `SnapshotFailed`, and leave nothing of it.

    Args:
        machine: Killed when what is inside fails or is cancelled.
        discard: Removes what was written, after that. May block.
    """

    async def give_up() -> None:
        try:
            await machine.kill()
        finally:
            await asyncio.to_thread(discard)

    async with undone_on_failure(give_up):
        with told_as(SnapshotFailed, machine.spec, "cannot be frozen"):
            yield
