"""Packets of virtio-vsock. Source: the virtio specification, 5.10.6."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

HEADER = struct.Struct("<QQIIIHHIII")
HOST = 2
"""The host's context id."""
STREAM = 1
DONE_RECEIVING, DONE_SENDING = 1, 2
"""Flags of SHUTDOWN, said of the side that sends it."""


class Operation(enum.IntEnum):
    """What a packet is for."""

    REQUEST = 1
    RESPONSE = 2
    RST = 3
    SHUTDOWN = 4
    RW = 5
    CREDIT_UPDATE = 6
    CREDIT_REQUEST = 7


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; `operation` may be a number that means nothing, since the guest chooses it."""

    source_cid: int
    target_cid: int
    source_port: int
    target_port: int
    kind: int
    operation: int
    flags: int = 0
    buffer_size: int = 0
    forwarded: int = 0
    data: bytes = b""

    def encode(self) -> bytes:
        """Return header and data."""
        ends = (self.source_cid, self.target_cid, self.source_port, self.target_port)
        return (
            HEADER.pack(
                *ends, len(self.data), self.kind, self.operation, self.flags, self.buffer_size, self.forwarded
            )
            + self.data
        )

    @classmethod
    def decode(cls, raw: bytes) -> Packet | None:
        """Return the packet; None when it is too short to be one, or shorter than it says."""
        if len(raw) < HEADER.size:
            return None
        source_cid, target_cid, source_port, target_port, length, *rest = HEADER.unpack_from(raw)
        kind, operation, flags, buffer_size, forwarded = rest
        data = raw[HEADER.size : HEADER.size + length] if operation == Operation.RW else b""
        if operation == Operation.RW and len(data) != length:
            return None
        return cls(
            source_cid,
            target_cid,
            source_port,
            target_port,
            kind,
            operation,
            flags,
            buffer_size,
            forwarded,
            data,
        )

    def reset(self) -> Packet:
        """Return the answer that refuses it."""
        return Packet(
            self.target_cid, self.source_cid, self.target_port, self.source_port, self.kind, Operation.RST
        )
