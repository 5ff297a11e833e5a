"""A split virtqueue, seen from the device. Source: the virtio specification, 2.7."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .memory import BadAddress, GuestMemory

if TYPE_CHECKING:
    from mmap import mmap

_DESCRIPTOR = struct.Struct("<QIHH")
_USED = struct.Struct("<II")
_NEXT, _WRITE = 1, 2
_NO_INTERRUPT = 1
_MAX_SIZE = 32768


@dataclass(frozen=True, slots=True)
class Chain:
    """Buffers that the driver has made available together: those to read from, then those to write to."""

    head: int
    readable: tuple[tuple[int, int], ...]
    writable: tuple[tuple[int, int], ...]

    @property
    def room(self) -> int:
        """How many bytes can be written."""
        return sum(size for _, size in self.writable)


class Ring:
    """One virtqueue.

    It takes part once it has its addresses, is kicked through a descriptor and is enabled.
    """

    def __init__(self) -> None:
        self.memory = GuestMemory()
        self.size = 0
        self.next_available = 0
        self.addresses: tuple[int, int, int] | None = None
        self.kick: int | None = None
        self.call: int | None = None
        self.enabled = False
        self._next_used = 0
        self._called_for = False

    @property
    def running(self) -> bool:
        """Whether buffers can be taken."""
        return (
            self.enabled
            and self.kick is not None
            and self.addresses is not None
            and 0 < self.size <= _MAX_SIZE
        )

    def place(self, descriptors: int, used: int, available: int) -> None:
        """Take the three tables' addresses, which are the VMM's; raises `BadAddress`."""
        for address, size in (
            (descriptors, 16 * self.size),
            (used, 4 + 8 * self.size),
            (available, 4 + 2 * self.size),
        ):
            self.memory.by_user(address, size)
        self.addresses = (descriptors, used, available)
        self._next_used = self._half(used + 2)

    def peek(self) -> Chain | None:
        """Return the next chain and leave it where it is; None when there is none.

        Raises `BadAddress` for nonsense.
        """
        if not self.running or self.addresses is None:
            return None
        available = self.addresses[2]
        if self._half(available + 2) == self.next_available:
            return None
        head = self._half(available + 4 + 2 * (self.next_available % self.size))
        return self._chain(head, self.addresses[0])

    def read(self, chain: Chain) -> bytes:
        """Return what the driver has put into a chain."""
        return b"".join(mapping[at : at + size] for mapping, at, size in self._pieces(chain.readable))

    def write(self, chain: Chain, data: bytes) -> None:
        """Put data into a chain that has the room."""
        done = 0
        for mapping, at, size in self._pieces(chain.writable):
            piece = data[done : done + size]
            mapping[at : at + len(piece)] = piece
            done += len(piece)

    def give_back(self, chain: Chain, written: int) -> None:
        """Take the chain that `peek` returned, and hand it back to the driver as used."""
        if self.addresses is None:
            return
        _, used, _ = self.addresses
        mapping, at = self.memory.by_user(used + 4 + 8 * (self._next_used % self.size), 8)
        _USED.pack_into(mapping, at, chain.head, written)
        self._next_used = (self._next_used + 1) & 0xFFFF
        mapping, at = self.memory.by_user(used + 2, 2)
        struct.pack_into("<H", mapping, at, self._next_used)
        self.next_available = (self.next_available + 1) & 0xFFFF
        self._called_for = True

    def notify(self) -> None:
        """Interrupt the driver if buffers were given back since the last time and it wants to know."""
        if not self._called_for or self.addresses is None:
            return
        self._called_for = False
        if self.call is not None and not self._half(self.addresses[2]) & _NO_INTERRUPT:
            os.eventfd_write(self.call, 1)

    def _half(self, address: int) -> int:
        mapping, at = self.memory.by_user(address, 2)
        return int.from_bytes(mapping[at : at + 2], "little")

    def _chain(self, head: int, table: int) -> Chain:
        readable: list[tuple[int, int]] = []
        writable: list[tuple[int, int]] = []
        index = head
        for _ in range(self.size):
            if index >= self.size:
                raise BadAddress(f"descriptor {index} of {self.size}")
            mapping, at = self.memory.by_user(table + 16 * index, 16)
            address, size, flags, following = _DESCRIPTOR.unpack_from(mapping, at)
            (writable if flags & _WRITE else readable).append((address, size))
            if not flags & _NEXT:
                return Chain(head, tuple(readable), tuple(writable))
            index = following
        raise BadAddress(f"the chain of descriptor {head} has no end")

    def _pieces(self, buffers: tuple[tuple[int, int], ...]) -> list[tuple[mmap, int, int]]:
        return [(*self.memory.by_guest(address, size), size) for address, size in buffers]
