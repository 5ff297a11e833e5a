"""Connections that go to an address that was checked, and to no other.

A name is resolved once for each connection; every address that it has must be allowed; the connection is then made to one
of these very addresses. A name that changes between check and connection changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import httpcore

from emberbox.jobs.webhooks.addresses import is_public, literal_address

if TYPE_CHECKING:
    from collections.abc import Iterable

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Takes a host and a port; returns its addresses, best first. Raises OSError when there are none."""

_MOST_ADDRESSES = 32
_TRIED_ADDRESSES = 4


class AddressRefused(Exception):
    """The host has an address that may not be called."""


class NameUnknown(Exception):
    """The host's name has no address, or nobody could be asked."""


class SystemResolver:
    """The system's resolver, on threads of its own: names that are slow to resolve hold up nobody else's work.

    Args:
        threads: Names being resolved at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-names")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host. Raises OSError. Cancelling it leaves the thread to end by itself."""
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Start no more look-ups. Waits for nothing; repeating is harmless."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what it has resolved and checked itself. Made for httpcore, which leaves connecting to it.

    Args:
        resolver: Turns names into addresses.
        allow_private: Whether addresses outside the public internet may be called.
        network: Makes the connections to addresses; None means the system's.
    """

    def __init__(
        self, resolver: Resolver, *, allow_private: bool = False, network: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
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
        addresses = await self._checked(host, port)
        each = None if timeout is None else timeout / min(len(addresses), _TRIED_ADDRESSES)
        for address in addresses[:_TRIED_ADDRESSES]:
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

    async def _checked(self, host: str, port: int) -> list[str]:
        literal = literal_address(host)
        try:
            addresses = [literal] if literal is not None else await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise NameUnknown from error
        if not addresses:
            raise NameUnknown
        if len(addresses) > _MOST_ADDRESSES or not (self._allow_private or all(is_public(one) for one in addresses)):
            raise AddressRefused
        return addresses
