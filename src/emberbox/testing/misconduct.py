"""Ways in which a fake agent can break the protocol."""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING

from emberbox.guest.channel import MAX_EVENTS
from emberbox.guest.credit import FREE_GRANTS, INITIAL_CREDIT, MAX_EMPTY_DATA
from emberbox.guest.frames import END, MAX_DATA, FrameType, encode

if TYPE_CHECKING:
    from collections.abc import Callable


class Misconduct(StrEnum):
    """What the agent sends in place of an answer."""

    UNKNOWN_TYPE = "unknown_type"
    OVERSIZED = "oversized"
    RESERVED = "reserved"
    HOSTS_FRAME = "hosts_frame"
    UNOPENED_CHANNEL = "unopened_channel"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    DEEP_JSON = "deep_json"
    WRONG_STREAM = "wrong_stream"
    OVER_CREDIT = "over_credit"
    DATA_AFTER_END = "data_after_end"
    EMPTY_DATA_FLOOD = "empty_data_flood"
    CREDIT_FLOOD = "credit_flood"
    CREDIT_OVERFLOW = "credit_overflow"
    EVENT_FLOOD = "event_flood"
    SECOND_HELLO = "second_hello"
    RESULT_TWICE = "result_twice"
    RESULT_BEFORE_END = "result_before_end"
    RESULT_WITHOUT_OK = "result_without_ok"
    GARBAGE = "garbage"


def misconduct_bytes(kind: Misconduct, channel: int) -> bytes:
    """Return what an agent that misbehaves in the way `kind` sends on the open channel `channel`."""
    return _BYTES[kind](channel)


def _raw(length: int, type_: int, flags: int, reserved: int, channel: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBBHI", length, type_, flags, reserved, channel) + payload


def _result(channel: int, payload: bytes) -> bytes:
    return encode(FrameType.RESULT, channel, payload)


def _data(channel: int, payload: bytes, flags: int = 1) -> bytes:
    return encode(FrameType.DATA, channel, payload, flags)


def _credit(channel: int, amount: int) -> bytes:
    return encode(FrameType.CREDIT, channel, struct.pack(">I", amount))


_REFUSAL = b'{"ok":false,"error":{"code":"internal","message":""}}'
_BYTES: dict[Misconduct, Callable[[int], bytes]] = {
    Misconduct.UNKNOWN_TYPE: lambda c: _raw(0, 99, 0, 0, c),
    Misconduct.OVERSIZED: lambda c: _raw(2**32 - 1, FrameType.RESULT, 0, 0, c),
    Misconduct.RESERVED: lambda c: _raw(0, FrameType.DATA, 1, 7, c),
    Misconduct.HOSTS_FRAME: lambda c: encode(FrameType.REQUEST, c, b'{"op":"ping"}'),
    Misconduct.UNOPENED_CHANNEL: lambda c: _result(c + 1000, b'{"ok":true}'),
    Misconduct.NOT_JSON: lambda c: _result(c, b"\xff{"),
    Misconduct.DUPLICATE_KEY: lambda c: _result(c, b'{"ok":false,"ok":true}'),
    Misconduct.DEEP_JSON: lambda c: _result(c, b'{"ok":' + b"[" * 100_000),
    Misconduct.WRONG_STREAM: lambda c: _data(c, b"x", 0),
    Misconduct.OVER_CREDIT: lambda c: _data(c, bytes(MAX_DATA)) * (INITIAL_CREDIT // MAX_DATA + 1),
    Misconduct.DATA_AFTER_END: lambda c: _data(c, b"", 1 | END) + _data(c, b"x"),
    Misconduct.EMPTY_DATA_FLOOD: lambda c: _data(c, b"") * (MAX_EMPTY_DATA + 1),
    Misconduct.CREDIT_FLOOD: lambda c: _credit(c, 1) * (FREE_GRANTS + 1),
    Misconduct.CREDIT_OVERFLOW: lambda c: _credit(c, 2**31 - 1),
    Misconduct.EVENT_FLOOD: lambda c: encode(FrameType.EVENT, c, b'{"event":"x"}') * (MAX_EVENTS + 1),
    Misconduct.SECOND_HELLO: lambda _: encode(
        FrameType.HELLO, 0, b'{"protocol":1,"minor":0,"agent":"x","features":[]}'
    ),
    Misconduct.RESULT_TWICE: lambda c: _result(c, _REFUSAL) * 2,
    Misconduct.RESULT_BEFORE_END: lambda c: _data(c, b"x") + _result(c, _REFUSAL),
    Misconduct.RESULT_WITHOUT_OK: lambda c: _result(c, b"{}"),
    Misconduct.GARBAGE: lambda _: b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n",
}
