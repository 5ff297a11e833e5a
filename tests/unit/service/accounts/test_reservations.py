"""Promises of bytes: they count before anything is written, and end whatever happens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import NoSpace, QuotaExceeded
from emberbox.model import MIB
from emberbox.service.accounts.quota import Share
from emberbox.service.accounts.reservations import Reservations
from emberbox.service.upkeep.space import SpaceGuard

if TYPE_CHECKING:
    from collections.abc import Collection

TEAM = Share("team", "team_a", 1000)


class Stored:
    """Stands for the database: what it says is stored by each."""

    def __init__(self, **stored: int) -> None:
        self.stored = stored

    async def rows(self, query: object, values: dict[str, Collection[str]]) -> list[dict[str, Any]]:
        return [
            {"owner_id": one, "bytes": self.stored[one]} for one in values["owners"] if one in self.stored
        ]


def reservations(free_mib: int = 1000, **stored: int) -> tuple[Reservations, SpaceGuard]:
    def statvfs(_: Path) -> os.statvfs_result:
        return os.statvfs_result((MIB, MIB, 2000, free_mib, free_mib, 10, 10, 10, 0, 255))

    space = SpaceGuard(Path("/nonexistent"), 100, statvfs=statvfs)
    return Reservations(Stored(**stored), space.reserve), space  # type: ignore[arg-type]


async def test_what_is_promised_counts_as_stored() -> None:
    all_, _ = reservations(team_a=400)
    with all_.begin([TEAM]) as first, all_.begin([TEAM]) as second:
        await first.look()
        await second.look()
        first.keep(500)
        with pytest.raises(QuotaExceeded, match="stores 900 bytes and asks for 101 more"):
            second.keep(101)
        second.keep(100)
        first.shrink(300)
        second.keep(300)
        assert all_.promised("team_a") == 600
    assert all_.promised("team_a") == 0


async def test_the_disk_is_promised_once() -> None:
    all_, space = reservations(free_mib=300)
    with all_.begin([]) as first, all_.begin([]) as second:
        first.write(150 * MIB)
        with pytest.raises(NoSpace, match="this needs 60 MiB"):
            second.write(60 * MIB)
        second.write(50 * MIB)
        with pytest.raises(NoSpace):
            space.check(1)
    space.check(200 * MIB)


async def test_a_refusal_of_the_disk_gives_the_share_back() -> None:
    all_, _ = reservations(free_mib=100)
    with all_.begin([TEAM]) as room:
        await room.look()
        room.keep(10)
        with pytest.raises(NoSpace):
            room.write(MIB)
    assert all_.promised("team_a") == 0
