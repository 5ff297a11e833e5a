"""Memory that ready sandboxes do not need, given back to the host where the VMM can ask for it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError
from emberbox.vmm.base import ReclaimingMachine

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.sandbox.machines.live import LiveMachine

_log = logging.getLogger(__name__)

KEPT_SHARE = 0.25
"""Of what a guest could give away, this much stays with it: a claimed sandbox must not begin by
asking for memory."""
LEAST_MIB = 16
"""Less than this is not worth the asking."""


async def reclaim_idle(live: LiveMachine, after_s: float, ready: Callable[[], bool]) -> bool:
    """Ask a ready sandbox, once, to give back most of what it does not use; returns whether it was asked.

    Args:
        live: The sandbox.
        after_s: How long it must have been ready, in seconds; 0 never asks.
        ready: Whether it still is. One that is claimed meanwhile gets all back.
    """
    machine = live.machine
    if (
        not after_s
        or live.reclaimed
        or time.monotonic() - live.made < after_s
        or not isinstance(machine, ReclaimingMachine)
    ):
        return False
    live.reclaimed = True
    try:
        use = await machine.memory_use()
        give_mib = int((use.available_mib or 0) * (1 - KEPT_SHARE))
        if give_mib < LEAST_MIB:
            return False
        await machine.reclaim(max(0, live.machine.spec.memory_mib - give_mib))
        if not ready():
            await machine.reclaim(None)
            return False
    except EmberboxError as error:
        _log.info(
            "a ready sandbox keeps its memory: %s",
            error,
            extra={"action": "pool.reclaim_failed", "machine": live.id},
        )
        return False
    _log.debug(
        "asked for %d MiB", give_mib, extra={"action": "pool.reclaimed", "machine": live.id, "mib": give_mib}
    )
    return True


async def give_back(live: LiveMachine) -> None:
    """Let a sandbox that was claimed have all of its memory again.

    What fails is logged: the guest takes it by itself, too.
    """
    machine = live.machine
    if live.reclaimed and isinstance(machine, ReclaimingMachine):
        try:
            await machine.reclaim(None)
        except EmberboxError as error:
            _log.info(
                "a sandbox's memory was not given back: %s", error, extra={"action": "pool.give_back_failed"}
            )
