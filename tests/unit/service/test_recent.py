"""A mapping of the latest."""

from __future__ import annotations

from emberbox.service.recent import Recent


def test_the_oldest_make_room() -> None:
    recent = Recent[str, int](2)
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        recent[name] = value
    assert dict(recent) == {"b": 2, "c": 3}
    recent["b"] = 4
    assert dict(recent) == {"b": 4, "c": 3}
    assert recent.pop("c", None) == 3
    recent["d"] = 5
    assert list(recent) == ["b", "d"]
