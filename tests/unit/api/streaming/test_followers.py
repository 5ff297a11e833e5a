"""The places for streams."""

from __future__ import annotations

import asyncio

import pytest

from emberbox.api.streaming.followers import Followers
from emberbox.errors import CapacityExhausted


def test_places() -> None:
    places = Followers(1, leaving=asyncio.Event())
    with places.one():
        with pytest.raises(CapacityExhausted, match=r"server\.followers"), places.one():
            pass
        assert places.count == 1
    assert places.count == 0
