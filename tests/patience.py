"""How long tests wait for what must happen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 180.0
"""Seconds that a test waits for what must happen. It is minutes: a machine that does much else is
slow, and only a hang is to fail. What must not happen is waited for in tenths of a second, by a
test that slowness cannot fail."""


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds that nothing tells of.

    Raises `TimeoutError` when it does not within `PATIENCE_S`.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
