"""The guest's memory, shared by the VMM as files."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class BadAddress(Exception):
    """The guest or the VMM named memory that it has not."""


@dataclass(frozen=True, slots=True)
class Region:
    """One mapped piece of memory: its place in the guest, in the VMM, and in the mapping."""

    guest: int
    size: int
    user: int
    start: int
    mapping: mmap.mmap

    @classmethod
    def map(cls, guest: int, size: int, user: int, offset: int, descriptor: int) -> Region:
        """Map a region; the descriptor is closed."""
        try:
            return cls(guest, size, user, offset, mmap.mmap(descriptor, size + offset))
        finally:
            os.close(descriptor)


class GuestMemory:
    """All regions. Every look-up is checked, since the addresses come from the guest."""

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._regions = tuple(regions)

    def by_guest(self, address: int, size: int) -> tuple[mmap.mmap, int]:
        """Return the mapping and place of `size` bytes at a guest's address; raises `BadAddress`."""
        for region in self._regions:
            if region.guest <= address and address + size <= region.guest + region.size:
                return region.mapping, address - region.guest + region.start
        raise BadAddress(f"{size} bytes at guest address {address:#x}")

    def by_user(self, address: int, size: int) -> tuple[mmap.mmap, int]:
        """Return the same for an address of the VMM's."""
        for region in self._regions:
            if region.user <= address and address + size <= region.user + region.size:
                return region.mapping, address - region.user + region.start
        raise BadAddress(f"{size} bytes at the VMM's address {address:#x}")

    def close(self) -> None:
        """Unmap."""
        for region in self._regions:
            region.mapping.close()
        self._regions = ()
