from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import GuestViolation, InvalidInput
from emberbox.guest.frames import (
    FROM_AGENT,
    FROM_HOST,
    HEADER_BYTES,
    MAX_JSON,
    Frame,
    FrameDecoder,
    FrameType,
    decode_object,
    encode,
    encode_object,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[3] / "spec/vectors.json").read_bytes())
ALL = frozenset(FrameType)


def payload_of(vector: dict[str, Any]) -> bytes:
    if "payload_hex" in vector:
        return bytes.fromhex(vector["payload_hex"])
    parts = vector["payload"]
    prefix, byte, suffix = (bytes.fromhex(parts[name]) for name in ("prefix_hex", "byte", "suffix_hex"))
    count: int = parts["count"]
    return prefix + byte * count + suffix


def bytes_of(vector: dict[str, Any]) -> bytes:
    return (
        bytes.fromhex(vector["hex"])
        if "hex" in vector
        else bytes.fromhex(vector["header_hex"]) + payload_of(vector)
    )


def decode(data: bytes, allowed: frozenset[FrameType] = ALL) -> list[Frame]:
    return list(FrameDecoder(allowed).feed(data))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    type_ = draw(st.sampled_from(list(FrameType)))
    channel = 0 if type_ in (FrameType.HELLO, FrameType.REFUSE) else draw(st.integers(1, 2**32 - 1))
    if type_ is FrameType.CREDIT:
        return Frame(type_, channel, draw(st.binary(min_size=4, max_size=4)), draw(st.integers(0, 15)))
    flags = draw(st.integers(0, 15)) | draw(st.sampled_from((0, 0x80))) if type_ is FrameType.DATA else 0
    return Frame(type_, channel, draw(st.binary(max_size=300)), flags)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["name"])
def test_vectors_decode_and_encode(vector: dict[str, Any]) -> None:
    wire = bytes_of(vector)
    frame = Frame(FrameType(vector["type"]), vector["channel"], payload_of(vector), vector["flags"])
    for allowed, sender in ((FROM_AGENT, "agent"), (FROM_HOST, "host")):
        if vector["sent_by"] in (sender, "both"):
            assert decode(wire, allowed) == [frame]
    assert encode(*frame) == wire
    if frame.type not in (FrameType.DATA, FrameType.CREDIT):
        assert isinstance(decode_object(frame.payload), dict)


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS["violations"] if "told by the header alone" in v["reason"]],
    ids=lambda v: v["name"],
)
def test_header_alone_tells_the_violation(vector: dict[str, Any]) -> None:
    header = bytes_of(vector)[:HEADER_BYTES]
    with pytest.raises(GuestViolation):
        decode(header)


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS["violations"] if v["name"].startswith("reserved") or "flag" in v["name"]],
    ids=lambda v: v["name"],
)
def test_reserved_bits_are_refused_by_the_decoder(vector: dict[str, Any]) -> None:
    with pytest.raises(GuestViolation):
        decode(bytes_of(vector))


@given(st.lists(frames(), max_size=12), st.data())
def test_same_frames_wherever_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    wire = b"".join(encode(*one) for one in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    decoder = FrameDecoder(ALL)
    got = [
        frame
        for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)
        for frame in decoder.feed(wire[a:b])
    ]
    assert got == sent
    assert decoder.buffered == 0


@given(st.lists(st.binary(max_size=400), max_size=10))
def test_any_bytes_give_frames_or_a_violation_and_bounded_memory(pieces: list[bytes]) -> None:
    decoder = FrameDecoder(ALL)
    try:
        for piece in pieces:
            for frame in decoder.feed(piece):
                assert len(frame.payload) <= MAX_JSON
            assert decoder.buffered < HEADER_BYTES + MAX_JSON
    except GuestViolation:
        pass


@given(st.binary(max_size=200))
def test_any_payload_is_an_object_or_a_violation(payload: bytes) -> None:
    try:
        value = decode_object(payload)
    except GuestViolation:
        return
    assert isinstance(value, dict)


def test_a_length_reserves_nothing() -> None:
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        list(decoder.feed(bytes.fromhex("0004000005000000 00000001")))
        assert tracemalloc.get_traced_memory()[1] < 16_384
    finally:
        tracemalloc.stop()


def test_frames_ahead_of_a_violation_are_delivered() -> None:
    good = Frame(FrameType.DATA, 1, b"x", 1)
    got = []
    with pytest.raises(GuestViolation):
        for frame in FrameDecoder().feed(encode(*good) + b"\xff" * 12):
            got.append(frame)  # noqa: PERF402 - what came before the raise is the point
    assert got == [good]


@pytest.mark.parametrize(
    "frame",
    [
        Frame(FrameType.DATA, 0, b"x", 1),
        Frame(FrameType.DATA, 1, bytes(65_537), 1),
        Frame(FrameType.DATA, 1, b"", 0x40),
        Frame(FrameType.HELLO, 1, b"{}"),
        Frame(FrameType.CREDIT, 1, b"abc"),
    ],
)
def test_what_breaks_the_protocol_is_not_encoded(frame: Frame) -> None:
    with pytest.raises(InvalidInput):
        encode(*frame)


def test_text_that_is_not_utf8_is_not_sent() -> None:
    with pytest.raises(InvalidInput):
        encode_object({"argv": ["\udc80"]})
