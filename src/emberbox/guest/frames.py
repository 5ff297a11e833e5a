"""Frames of the guest protocol: bytes in, checked frames out, and back (spec/guest-protocol.md, section 1).

Nothing here does I/O. A length is checked against its type's bound before a payload byte is kept,
so a decoder never holds more than one largest frame beyond the piece that it was fed.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from emberbox.errors import GuestViolation, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROTOCOL = 1
"""Version that both sides must share."""
MINOR = 0
"""Count of additions that an older side can ignore."""
HEADER_BYTES = 12
MAX_JSON = 262_144
"""Bytes of a JSON payload."""
MAX_HELLO = 4_096
"""Bytes of a HELLO or REFUSE payload."""
MAX_DATA = 65_536
"""Bytes of a DATA payload."""
END = 0x80
"""The flag of a stream's last DATA."""

_HEADER = struct.Struct(">IBBHI")
_CREDIT = struct.Struct(">I")


class FrameType(IntEnum):
    """What a frame is."""

    HELLO = 1
    REFUSE = 2
    REQUEST = 3
    EVENT = 4
    RESULT = 5
    DATA = 6
    CREDIT = 7
    CONTROL = 8


FROM_AGENT = frozenset(FrameType) - {FrameType.REQUEST, FrameType.CONTROL}
"""Types that an agent may send."""
FROM_HOST = frozenset(FrameType) - {FrameType.EVENT, FrameType.RESULT}
"""Types that a host may send."""


class Frame(NamedTuple):
    """One frame whose header was checked. `channel` is 0 for the session."""

    type: FrameType
    channel: int
    payload: bytes = b""
    flags: int = 0

    @property
    def stream(self) -> int:
        """The stream that a DATA or CREDIT frame belongs to."""
        return self.flags & 0x0F

    @property
    def end(self) -> bool:
        """Whether a DATA frame is its stream's last."""
        return bool(self.flags & END)


class _Rule(NamedTuple):
    type: FrameType
    least: int
    most: int
    flags: int
    session: bool


_RULES = {
    rule.type: rule
    for rule in (
        _Rule(FrameType.HELLO, 0, MAX_HELLO, 0, True),
        _Rule(FrameType.REFUSE, 0, MAX_HELLO, 0, True),
        _Rule(FrameType.REQUEST, 0, MAX_JSON, 0, False),
        _Rule(FrameType.EVENT, 0, MAX_JSON, 0, False),
        _Rule(FrameType.RESULT, 0, MAX_JSON, 0, False),
        _Rule(FrameType.DATA, 0, MAX_DATA, 0x8F, False),
        _Rule(FrameType.CREDIT, 4, 4, 0x0F, False),
        _Rule(FrameType.CONTROL, 0, MAX_JSON, 0, False),
    )
}


def violation(what: str) -> GuestViolation:
    """Return the error for a guest that broke the protocol; `what` must hold no text of the guest's."""
    return GuestViolation(f"the guest broke the protocol and its sandbox was ended: {what}")


def encode(type_: FrameType, channel: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return a frame's bytes.

    Raises:
        InvalidInput: The frame would break the protocol.
    """
    rule = _RULES[type_]
    if not rule.least <= len(payload) <= rule.most:
        raise InvalidInput(f"{type_.name} takes {rule.least} to {rule.most} bytes, not {len(payload)}")
    if flags & ~rule.flags or rule.session != (channel == 0) or not 0 <= channel < 2**32:
        raise InvalidInput(f"{type_.name} cannot have the flags {flags:#x} on channel {channel}")
    return _HEADER.pack(len(payload), type_, flags, 0, channel) + payload


def encode_credit(amount: int) -> bytes:
    """Return the payload of a CREDIT frame."""
    return _CREDIT.pack(amount)


def decode_credit(payload: bytes) -> int:
    """Return how many bytes a CREDIT payload of 4 bytes grants."""
    (amount,) = _CREDIT.unpack(payload)
    return int(amount)


class FrameDecoder:
    """Turns pieces of a byte stream into frames, wherever the pieces are cut.

    Args:
        allowed: Types that the other side may send; the rest are violations.
    """

    __slots__ = ("_buffer", "_needed", "_rules")

    def __init__(self, allowed: frozenset[FrameType] = FROM_AGENT) -> None:
        self._rules: dict[int, _Rule] = {
            int(type_): rule for type_, rule in _RULES.items() if type_ in allowed
        }
        self._buffer = bytearray()
        self._needed = HEADER_BYTES

    @property
    def buffered(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes; exhaust it before the next call.

        Raises:
            GuestViolation: After the frames ahead of it. The decoder is of no use then.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data, self._buffer = bytes(self._buffer), bytearray()
        position, size = 0, len(data)
        self._needed = HEADER_BYTES
        while size - position >= HEADER_BYTES:
            length, kind, flags, reserved, channel = _HEADER.unpack_from(data, position)
            rule = self._rules.get(kind)
            if (
                rule is None
                or not rule.least <= length <= rule.most
                or flags & ~rule.flags
                or reserved
                or rule.session != (channel == 0)
            ):
                raise violation(_explain(rule, kind, length, flags, reserved, channel))
            end = position + HEADER_BYTES + length
            if end > size:
                self._needed = HEADER_BYTES + length
                break
            yield Frame(rule.type, channel, data[position + HEADER_BYTES : end], flags)
            position = end
        self._buffer += data[position:] if position else data


def _explain(rule: _Rule | None, kind: int, length: int, flags: int, reserved: int, channel: int) -> str:
    if rule is None:
        return f"a frame of type {kind}, which it may not send"
    if not rule.least <= length <= rule.most:
        return f"{rule.type.name} with {length} bytes, where {rule.least} to {rule.most} are allowed"
    if flags & ~rule.flags or reserved:
        return f"{rule.type.name} with the flags {flags:#x} and the reserved field {reserved:#x}"
    return f"{rule.type.name} on channel {channel}"


def encode_object(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object's bytes.

    Raises:
        InvalidInput: It holds text that is not UTF-8.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("arguments, variables and names must be text that UTF-8 can hold") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twice, parse_constant=_refuse_constant)


def decode_object(payload: bytes) -> dict[str, Any]:
    """Return the JSON object in `payload`.

    Raises:
        GuestViolation: It is not UTF-8, not JSON, not one object, nested too deeply, or has a key twice.
    """
    try:
        value = _DECODER.decode(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise violation("a payload that is not one JSON object without duplicate keys") from error
    if not isinstance(value, dict):
        raise violation("a payload that is JSON but not an object")
    return value
