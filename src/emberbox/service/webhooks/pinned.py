"""Connections of webhooks, which go to addresses that were checked and to no others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpcore

from emberbox.net.names import AddressRefused, Resolver, checked_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emberbox.service.webhooks.reach import Reach


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what it has resolved and checked itself. Made for httpcore, which leaves connecting to it.

    Args:
        resolver: Turns names into addresses.
        reach: Judges addresses when they are about to be connected to.
        network: Makes the connections to addresses; None means the system's.
    """

    def __init__(
        self,
        resolver: Resolver,
        reach: Reach,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._resolver = resolver
        self._reach = reach
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the host's addresses.

        Raises:
            AddressRefused: One of them may not be called; nothing was connected to.
            NameUnknown: There is none.
            httpcore.ConnectError: None of them answered.
            httpcore.ConnectTimeout: None of them answered in time.
        """
        failure: Exception = httpcore.ConnectError("no address answered")
        addresses = await checked_addresses(self._resolver, host, port, self._reach.allows)
        each = None if timeout is None else timeout / len(addresses)
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, each, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no webhook is delivered to a socket of the host's."""
        raise AddressRefused

    async def sleep(self, seconds: float) -> None:
        """Wait; httpcore asks for it between tries."""
        await asyncio.sleep(seconds)
