"""Server-Sent Events, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.client import events
from emberbox.client.events import Event, EventParser
from emberbox.errors import PayloadTooLarge

TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A stream, and the events in it."""
    text, expected, last_id = draw(st.sampled_from(["", "\ufeff"])), [], None
    for _ in range(draw(st.integers(0, 4))):
        end = draw(ENDS)
        lines = draw(st.lists(TEXT, min_size=1, max_size=3))
        kind, event_id = draw(st.sampled_from(["", "output", "end"])), draw(st.one_of(st.none(), TEXT))
        parts = [f"data: {line}" for line in lines] + ([f"event:{kind}"] if kind else [])
        if event_id is not None:
            parts.append(f"id: {event_id}")
            last_id = event_id or None
        parts.insert(
            draw(st.integers(0, len(parts))),
            draw(st.sampled_from([": heartbeat", "retry: 5", "unknown: x", "data2"])),
        )
        text += "".join(part + end for part in parts) + end
        expected.append(Event("\n".join(lines), kind or "message", last_id))
    return text.encode(), expected


@given(streams(), st.lists(st.integers(0, 400), max_size=12))
def test_any_cut_gives_the_same_events(stream: tuple[bytes, list[Event]], cuts: list[int]) -> None:
    data, expected = stream
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    parser = EventParser()
    found = [event for start, end in pairwise(places) for event in parser.feed(data[start:end])]
    assert found == expected


@given(streams())
def test_byte_by_byte(stream: tuple[bytes, list[Event]]) -> None:
    data, expected = stream
    parser = EventParser()
    assert [event for byte in data for event in parser.feed(bytes([byte]))] == expected


@given(st.binary(max_size=300))
def test_nothing_breaks_it(data: bytes) -> None:
    EventParser().feed(data)


def test_an_event_without_its_end_is_none() -> None:
    parser = EventParser()
    assert parser.feed(b"id: 1\ndata: x\n") == []
    assert parser.feed(b"\n") == [Event("x", "message", "1")]


def test_one_without_data_is_none_but_its_id_counts() -> None:
    parser = EventParser()
    assert parser.feed(b"id: 9\nevent: end\n\ndata\n\n") == [Event("", "message", "9")]


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST_EVENT", 1000)
    for piece in (b"x" * 100, b"data: x\n" * 20):
        parser = EventParser()
        with pytest.raises(PayloadTooLarge):
            for _ in range(1000):
                parser.feed(piece)
