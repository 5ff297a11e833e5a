"""By when each phase of an attempt is over, by the service's own clock.

The guest's client bounds whatever is asked of a VM, and can tell why it ends it. These bounds lie
behind: they ask nothing of a VM, and follow from the job's limits.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.errors import VmmTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.sandbox import Sandbox

STAGE_S = 300.0
"""How much longer than its limits (the compiler's and its own) a job may take for its files to be in its
VM, compiled. A transfer that stands still is ended long before."""
FOLLOW_S = 30.0
"""How much longer than its own limit a job's program is followed. Its VM is ended before that, by a
bound that can tell why; this one is the service's own, and asks nothing of it."""


def stage_s(sandbox: Sandbox) -> float | None:
    """Return how long a job may take for its files to be in its VM, compiled; None for no bound."""
    recipe, limit_s = sandbox.runtime.compile, sandbox.limits.timeout_s
    return None if limit_s is None else STAGE_S + limit_s + (0.0 if recipe is None else recipe.timeout_s)


def follow_s(sandbox: Sandbox) -> float | None:
    """Return how long a job's program is followed; None for no bound."""
    limit_s = sandbox.limits.timeout_s
    return None if limit_s is None else sandbox.patience_s + limit_s + FOLLOW_S


@asynccontextmanager
async def bounded(sandbox: Sandbox, within_s: float | None, what: str) -> AsyncIterator[None]:
    """End a VM that is not done with what is inside in time. Raises `VmmTimeout`."""
    deadline = asyncio.timeout(within_s)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        await sandbox.kill()
        raise VmmTimeout(f"the VM {what} after {within_s:g} s; it was ended") from None
