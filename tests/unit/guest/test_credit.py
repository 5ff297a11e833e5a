from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import GuestViolation
from emberbox.guest.credit import FREE_GRANTS, GRANT_STEP, INITIAL_CREDIT, ReceiveWindow, SendCredit
from emberbox.guest.inbox import MAX_PIECES, Inbox
from tests.unit.guest.test_frames import VECTORS

WITHOUT_GRANTS = [v for v in VECTORS["credit"] if all("data" in step for step in v["steps"])]
WITHOUT_END = [v for v in VECTORS["credit"] if not any("end" in step for step in v["steps"])]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["credit"] if all("data" in s for s in v["steps"])], ids=lambda v: v["name"]
)
def test_vectors_as_their_receiver_counts(vector: dict[str, Any]) -> None:
    window = ReceiveWindow()
    for index, step in enumerate(vector["steps"]):
        if index == vector["violation_at"]:
            with pytest.raises(GuestViolation):
                window.accept(step["data"], end=step.get("end", False))
            return
        window.accept(step["data"], end=step.get("end", False))


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS["credit"] if not any("end" in s for s in v["steps"])],
    ids=lambda v: v["name"],
)
def test_vectors_as_their_sender_counts(vector: dict[str, Any]) -> None:
    credit = SendCredit()
    for index, step in enumerate(vector["steps"]):
        if "data" in step:
            allowed = credit.spend(step["data"]) == step["data"]
            assert allowed == (index != vector["violation_at"])
        elif index == vector["violation_at"]:
            with pytest.raises(GuestViolation):
                credit.grant(step["credit"])
        else:
            credit.grant(step["credit"])
    if vector["credit_after"] is not None:
        assert credit.available == vector["credit_after"]


@given(st.lists(st.integers(1, 65_536), max_size=200))
def test_a_reader_that_keeps_up_never_starves_its_sender(sizes: list[int]) -> None:
    window, credit = ReceiveWindow(), INITIAL_CREDIT
    for size in sizes:
        assert credit >= size
        window.accept(size, end=False)
        credit += window.consume(size) - size
        assert INITIAL_CREDIT - GRANT_STEP < credit <= INITIAL_CREDIT


def test_nothing_is_granted_after_the_end() -> None:
    window = ReceiveWindow()
    window.accept(INITIAL_CREDIT, end=True)
    assert window.consume(INITIAL_CREDIT) == 0


def test_a_byte_a_grant_is_fine_when_a_byte_was_sent() -> None:
    credit = SendCredit()
    for _ in range(10_000):
        assert credit.spend(1) == 1
        credit.grant(1)
    with pytest.raises(GuestViolation):
        for _ in range(20_000):
            credit.grant(0)


def test_grants_without_cause_are_bounded() -> None:
    credit = SendCredit()
    with pytest.raises(GuestViolation):
        for _ in range(FREE_GRANTS + 1):
            credit.grant(0)


@given(st.lists(st.tuples(st.sampled_from((1, 2)), st.binary(max_size=3)), max_size=200), st.data())
def test_inbox_keeps_each_streams_bytes_in_order(puts: list[tuple[int, bytes]], data: st.DataObject) -> None:
    inbox, got = Inbox(), {1: b"", 2: b""}
    for stream, piece in puts:
        inbox.put(stream, piece)
        if inbox and data.draw(st.booleans()):
            stream_out, out = inbox.take()
            got[stream_out] += out
    while inbox:
        stream_out, out = inbox.take()
        got[stream_out] += out
    assert got == {n: b"".join(p for s, p in puts if s == n) for n in (1, 2)}


def test_inbox_bounds_its_pieces_and_keeps_order_within_a_stream() -> None:
    inbox, sent, got = Inbox(), {1: b"", 2: b""}, {1: b"", 2: b""}
    for index in range(20_000):
        stream, piece = 1 + index % 2, bytes([index // 2 % 251])
        inbox.put(stream, piece)
        sent[stream] += piece
        assert len(inbox) <= MAX_PIECES + 2
        if index % 7 == 0:
            out_stream, out = inbox.take()
            got[out_stream] += out
    while inbox:
        out_stream, out = inbox.take()
        got[out_stream] += out
    assert got == sent
