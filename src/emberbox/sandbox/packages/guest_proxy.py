"""The guest's end of the filtering proxy: a process of the agent that programs of a build VM connect to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from emberbox.errors import GuestRequestFailed
from emberbox.guest import ExecLimits, ExecRequest, GuestClient
from emberbox.sandbox.packages.proxy_link import ProxyLink
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.sandbox.packages.filtering_proxy import FilteringProxy

_log = logging.getLogger(__name__)

PROXY_ADDRESS = "http://127.0.0.1:3128"
"""Where programs of the guest find it."""
READY_S = 30.0
"""How long it may take to start, in seconds."""
_LIMITS = ExecLimits(wall_ms=None, stdout_keep=None, stderr_keep=4096, output_max=None)


@contextlib.asynccontextmanager
async def proxied(guest: GuestClient, proxy: FilteringProxy) -> AsyncIterator[None]:
    """Have the guest's programs reach the proxy for as long as the context lasts.

    Raises:
        GuestRequestFailed: It did not start.
    """
    request = ExecRequest(argv=("/proc/1/exe", "proxy"), user="root", cwd="/", stdin=True, limits=_LIMITS)
    process = await guest.start(request)
    link, keeper = ProxyLink(process, proxy.serve), TaskKeeper()
    try:
        carrying = keeper.start(_carry(link), "proxy-link")
        ready = keeper.start(link.ready.wait(), "proxy-ready")
        await asyncio.wait({carrying, ready}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        if not link.ready.is_set():
            raise GuestRequestFailed("internal", "the build VM's proxy did not start")
        yield
    finally:
        await keeper.cancel()
        process.abandon()


async def _carry(link: ProxyLink) -> None:
    """Run the link to its end. A guest that breaks it has lost its way out, and installs nothing more."""
    try:
        await link.run()
    except Exception as error:
        _log.warning("the proxy of a build VM ended: %s", error, extra={"action": "packages.proxy_ended"})
