"""What is held at the moment, within shares and a ceiling."""

from __future__ import annotations

import pytest

from emberbox.errors import CapacityExhausted, QuotaExceeded
from emberbox.service.accounts.allotments import Allotment
from emberbox.service.accounts.quota import Share


def test_shares_and_the_ceiling_hold_and_what_is_refused_takes_nothing() -> None:
    bytes_ = Allotment("bytes", quota="body_bytes", ceiling=100, setting="ceiling.body_bytes")
    team, key = Share("team", "team_a", 60), Share("key", "key_a", 40)
    bytes_.take([team, key], 30)
    with pytest.raises(QuotaExceeded, match="this key"):
        bytes_.take([team, key], 11)
    bytes_.take([team], 30)
    with pytest.raises(QuotaExceeded, match="this team"):
        bytes_.take([team], 1)
    with pytest.raises(CapacityExhausted, match=r"ceiling\.body_bytes"):
        bytes_.take([Share("team", "team_b", 60)], 41)
    assert bytes_.total == 60
    bytes_.give([team, key], 30)
    bytes_.give([team], 30)
    bytes_.take([team], 60)
    assert bytes_.total == 60


def test_without_a_bound_the_ceiling_alone_holds() -> None:
    places = Allotment("places", quota="followers", ceiling=2, setting="server.followers")
    with places.hold([]), places.hold([]), pytest.raises(CapacityExhausted), places.hold([]):
        pass
    assert places.total == 0
