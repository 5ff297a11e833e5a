"""The addresses of this host: those that its interfaces have now, as the kernel tells them.

Sources: netlink(7), rtnetlink(7), and `linux/if_addr.h` of Linux 6.1.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST_DUMP = 0x1 | 0x300  # NLM_F_REQUEST, NLM_F_DUMP
_ERROR, _DONE, _NEW_ADDRESS, _GET_ADDRESS = 2, 3, 20, 22
_NAMING = (1, 2)  # IFA_ADDRESS, IFA_LOCAL
_WAIT_S = 5.0
_MOST_BYTES = 1 << 16


def own_addresses() -> frozenset[str]:
    """Return every address that an interface of this host has, IPv4 and IPv6, in its standard spelling.

    The kernel answers at once, from memory. Of the other end of a point-to-point link, the address counts
    too: it is told beside the host's own, and is nobody's on the internet.

    Raises:
        OSError: The kernel did not tell.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_WAIT_S)
        kernel.bind((0, 0))
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _GET_ADDRESS, _REQUEST_DUMP, 1, 0) + body)
        return frozenset(_told(kernel))


def _told(kernel: socket.socket) -> Iterator[str]:
    while True:
        data = kernel.recv(_MOST_BYTES)
        for kind, body in _messages(data):
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, "the kernel did not tell this host's addresses")
            if kind == _NEW_ADDRESS:
                yield from _addresses(body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise OSError("the kernel's answer about this host's addresses cannot be read")
        yield kind, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _addresses(body: bytes) -> Iterator[str]:
    rest = body[_ADDRESS.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            return
        value = rest[_ATTRIBUTE.size : length]
        if kind in _NAMING and len(value) in (4, 16):
            yield str(ip_address(value))
        rest = rest[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
