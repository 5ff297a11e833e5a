"""Names become addresses that were checked: resolved once, and connected to as they were found.

Every address that a name has must be allowed. A name that changes between the check and the
connection changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from emberbox.net.addresses import literal_address

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Takes a host and a port; returns its addresses, best first. Raises OSError when there are none."""

_MOST_ADDRESSES = 32
_TRIED_ADDRESSES = 4


class AddressRefused(Exception):
    """The host has an address that may not be called."""


class NameUnknown(Exception):
    """The host's name has no address, or nobody could be asked; the text is the resolver's."""


class SystemResolver:
    """The system's resolver.

    Args:
        threads: Names being resolved at once, on threads of its own: names that are slow to resolve hold up
            nobody else's work. None for the loop's threads.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = None if threads is None else ThreadPoolExecutor(threads, thread_name_prefix="names")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host.

        Cancelling it leaves the thread to end by itself.

        Raises:
            OSError: There are none, or nobody could be asked.
            UnicodeError: The host cannot be a name.
        """
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Start no more look-ups on threads of its own. Waits for nothing; repeating is harmless."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


async def checked_addresses(
    resolver: Resolver,
    host: str,
    port: int,
    allowed: Callable[[str], bool],
) -> list[str]:
    """Return the addresses of a host that are worth a try, best first; at least one, and few.

    A host that is an address, in any spelling, is not asked for.

    Args:
        resolver: Turns names into addresses.
        host: A name, or an address without brackets.
        port: Where it will be connected to.
        allowed: Judges an address, such as `is_public`.

    Raises:
        AddressRefused: One of its addresses is not allowed, or it has more than anybody needs.
        NameUnknown: It has none.
    """
    literal = literal_address(host)
    try:
        addresses = [literal] if literal is not None else await resolver(host, port)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(str(error)) from error
    if not addresses:
        raise NameUnknown("no address")
    if len(addresses) > _MOST_ADDRESSES or not all(allowed(one) for one in addresses):
        raise AddressRefused
    return addresses[:_TRIED_ADDRESSES]
