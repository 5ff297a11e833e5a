"""The places for streams."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.api.streaming.followers import Followers
from emberbox.config import QuotaSettings, ServerSettings, Settings
from emberbox.errors import CapacityExhausted, QuotaExceeded
from tests.accounts import key_record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def places(tmp_path: Path) -> Followers:
    """Three streams, of which a team may have two."""
    settings = replace(
        Settings(data=tmp_path), server=ServerSettings(followers=3), quota=QuotaSettings(followers=2)
    )
    return Followers(settings, leaving=asyncio.Event())


def test_a_team_has_its_share_and_no_more(places: Followers) -> None:
    one, same_team, other = key_record(id="key_1"), key_record(id="key_2"), key_record(team_id="team_other")
    with places.one(one).place, places.one(same_team).place:
        with pytest.raises(QuotaExceeded, match="followers"), places.one(one).place:
            pass
        with places.one(other).place:
            assert places.count == 3
            last = places.one(key_record(team_id="team_third"))
            with pytest.raises(CapacityExhausted, match=r"server\.followers"), last.place:
                pass
    assert places.count == 0
    with places.one(one).place:
        assert places.count == 1


def test_a_key_may_be_held_to_less_than_its_team(places: Followers) -> None:
    narrow, same_team = key_record(id="key_1", quota={"followers": 1}), key_record(id="key_2")
    with places.one(narrow).place:
        with pytest.raises(QuotaExceeded, match="this key"), places.one(narrow).place:
            pass
        with places.one(same_team).place:
            assert places.count == 2
