"""Which addresses belong to the public internet. All others are the host's own, its neighbours', or nobody's.

Sources: IANA's registries of special-purpose IPv4 and IPv6 addresses (RFC 6890, as of October 2025), and
its registry of the IPv6 address space.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_Address = IPv4Address | IPv6Address

_NEVER_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/32",  # reaches the host itself (RFC 1122)
        "100.100.100.200/32",  # metadata of Alibaba's cloud
        "168.63.129.16/32",  # the host of a virtual machine of Azure's, though it is registered as public
        "169.254.0.0/16",  # link-local, with the metadata of most clouds (RFC 3927)
        "192.0.0.192/32",  # metadata of Oracle's classic cloud
        "224.0.0.0/4",  # multicast (RFC 5771)
        "255.255.255.255/32",  # broadcast (RFC 919)
    )
)
_NOT_PUBLIC_V4 = _NEVER_V4 + tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # shared behind a carrier's NAT (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # protocol assignments; some reach a translator nearby (RFC 6890, 7723, 8155)
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.88.99.0/24",  # relays of 6to4 and 6a44 (RFC 7526, 6751)
        "192.168.0.0/16",  # private (RFC 1918)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "240.0.0.0/4",  # reserved (RFC 1112)
    )
)
_NEVER_V6 = tuple(
    IPv6Network(text)
    for text in (
        "64:ff9b:1::/48",  # a translator nearby, to addresses that only it can tell (RFC 8215)
        "fd00:42::42/128",  # metadata of Scaleway's cloud
        "fd00:c1::a9fe:a9fe/128",  # metadata of Oracle's cloud
        "fd00:ec2::/32",  # metadata of Amazon's cloud, and its other services beside a machine
        "fd20:ce::254/128",  # metadata of Google's cloud
        "fe80::/10",  # link-local (RFC 4291)
        "ff00::/8",  # multicast (RFC 4291)
    )
)
# The only part of the address space that is given out (RFC 4291, 3587). Outside it lie, among others, the
# discard prefix 100::/64 (RFC 6666), a dummy one 100:0:0:1::/64 (RFC 9780), segment identifiers 5f00::/16
# (RFC 9602), unique local fc00::/7 (RFC 4193) and site-local fec0::/10 (RFC 3879).
_GIVEN_OUT_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        # Protocol assignments (RFC 2928): Teredo (4380), benchmarks (5180), ORCHID (4843, 7343), drones'
        # identifiers (9374), and anycast to what is nearby (7723, 8155, 9665, 7450, 7535).
        "2001::/23",
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4, whose relays are gone (RFC 3056, 7526)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_PUBLIC_V6 = (_GIVEN_OUT_V6, _MAPPED, _NAT64)
# Networks whose addresses carry an IPv4 address, by how many bits it must be shifted to the right, and which
# of its own bits are inverted.
_CARRIERS = (
    (_MAPPED, 0, 0),  # an IPv4 address as IPv6 sockets write it (RFC 4291)
    (IPv6Network("::/96"), 0, 0),  # compatible (RFC 4291)
    (IPv6Network("::ffff:0:0:0/96"), 0, 0),  # translated (RFC 2765)
    (_NAT64, 0, 0),  # translated on the way (RFC 6052)
    (IPv6Network("2002::/16"), 80, 0),  # 6to4 (RFC 3056)
    (IPv6Network("2001::/32"), 64, 0),  # Teredo's server (RFC 4380)
    (IPv6Network("2001::/32"), 0, 0xFFFF_FFFF),  # Teredo's client
)
_ISATAP = 0x5EFE
_ISATAP_MASK = 0xFCFF_FFFF  # without the bits "universal" and "group" (RFC 5214, 6.1)
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_NUMBERS = re.compile(r"[0-9a-fx.]+", re.ASCII | re.IGNORECASE)


def is_public(address: str) -> bool:
    """Return whether the address is one of the public internet.

    What IANA calls not globally reachable is not, and neither is what cannot be told. Of the forms that
    stand for an IPv4 address, the mapped one (`::ffff:0:0/96`) and NAT64 (`64:ff9b::/96`) are judged as that
    address; compatible and translated addresses, 6to4 and Teredo are not public at all. An ISATAP address is
    not, unless the IPv4 address in it is. What cannot be seen is whether some network translates a prefix of
    its own.

    Args:
        address: In its standard spelling, without brackets. Text that is none, or has a zone, is not public.
    """
    found = _read(address)
    if found is None or _within(found, _NOT_PUBLIC_V4, _NOT_PUBLIC_V6):
        return False
    return isinstance(found, IPv4Address) or any(found in network for network in _PUBLIC_V6)


def is_public_or_private(address: str) -> bool:
    """Return whether the address can be a server's: on the internet, in a private network, or on this host.

    Link-local, multicast, broadcast and unspecified addresses cannot, nor those at which clouds tell a
    machine its secrets; neither can an IPv6 address that carries one of them.

    Args:
        address: As for `is_public`.
    """
    found = _read(address)
    return found is not None and not _within(found, _NEVER_V4, _NEVER_V6)


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach the host: `localhost`, 127.0.0.0/8 or ::1."""
    address = _read(host)
    return host == "localhost" or (address is not None and any(address in network for network in _LOOPBACK))


def networks_of(text: str) -> list[IPv4Network | IPv6Network]:
    """Return networks such as `192.0.2.0/24`, separated by commas; a lone address is a network of one.

    Raises `ValueError` for what is neither.
    """
    return [ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def is_within(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether the address, or an IPv4 address that it carries, lies in one of the networks.

    Args:
        address: As for `is_public`; what is none lies nowhere.
        networks: Of either kind.
    """
    found, all_of_them = _read(address), tuple(networks)
    v4 = tuple(one for one in all_of_them if isinstance(one, IPv4Network))
    v6 = tuple(one for one in all_of_them if isinstance(one, IPv6Network))
    return found is not None and _within(found, v4, v6)


def literal_address(host: str) -> str | None:
    """Return the address that a host stands for by itself, in its standard spelling; None for a name.

    The forms that the C library takes count too: `127.1`, `2130706433`, `0x7f000001` and `0177.0.0.1` are all
    127.0.0.1.

    Args:
        host: A host as in a URL, an IPv6 address without brackets.
    """
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        # The C library would pass over what stands behind a space.
        return socket.inet_ntoa(socket.inet_aton(host)) if _NUMBERS.fullmatch(host) else None
    except OSError:
        return None


def _read(text: str) -> _Address | None:
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def _within(address: _Address, v4: tuple[IPv4Network, ...], v6: tuple[IPv6Network, ...]) -> bool:
    """Return whether the address, or an IPv4 address that it carries, lies in one of the networks."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in v4)
    return any(address in network for network in v6) or any(_within(one, v4, v6) for one in _carried(address))


def _carried(address: IPv6Address) -> list[IPv4Address]:
    bits = int(address)
    found = [bits >> shift ^ inverted for network, shift, inverted in _CARRIERS if address in network]
    if bits >> 32 & _ISATAP_MASK == _ISATAP:
        found.append(bits)
    return [IPv4Address(one & 0xFFFF_FFFF) for one in found]
