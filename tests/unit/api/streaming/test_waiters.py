"""The places for requests that wait."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from emberbox.api.streaming.waiters import Waiters
from emberbox.config import CeilingSettings, QuotaSettings, Settings
from tests.accounts import key_record

if TYPE_CHECKING:
    from emberbox.service.jobs.waiting import JobWaits


def test_a_team_has_its_share_and_who_finds_no_place_does_not_wait() -> None:
    settings = replace(Settings(), quota=QuotaSettings(waits=2), ceiling=CeilingSettings(waits=3))
    waiters = Waiters(settings, cast("JobWaits", None))
    mine, theirs, third = key_record(), key_record(team_id="team_b"), key_record(team_id="team_c")
    with waiters.place(mine) as first, waiters.place(mine) as second, waiters.place(mine) as more:
        assert (first, second, more) == (True, True, False)
        with waiters.place(theirs) as other, waiters.place(third) as last:
            assert (other, last) == (True, False)
            assert waiters.count == 3
    assert waiters.count == 0
