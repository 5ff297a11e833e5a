"""The back-end's side of vhost-user: the VMM's requests, and the two queues that it hands over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
from typing import TYPE_CHECKING

from .memory import BadAddress, GuestMemory, Region
from .messages import BadMessage, Message, MessageStream, Request
from .ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_LOG_ALL = 1 << 26
_PROTOCOL_FEATURES = 1 << 30
_VERSION_1 = 1 << 32
FEATURES = _VERSION_1 | _PROTOCOL_FEATURES | _LOG_ALL
"""Neither indirect descriptors nor event indices: nothing here is so busy that it needs them."""
_LOG_SHMFD, _REPLY_ACK, _CONFIG, _STATUS = 1 << 1, 1 << 3, 1 << 9, 1 << 16
PROTOCOL_FEATURES = _LOG_SHMFD | _REPLY_ACK | _CONFIG | _STATUS
_NO_DESCRIPTOR = 1 << 8
_MAX_REGIONS = 8


class Backend:
    """Serves one front-end. The queues stop when it stops them, and for good when it goes.

    Args:
        config: The device's configuration space.
        changed: Called when a queue started or stopped, and when the guest kicked one.
    """

    def __init__(self, config: bytes, changed: Callable[[], None]) -> None:
        self.rings = (Ring(), Ring())
        self._config = config
        self._changed = changed
        self._features = 0
        self._status = 0
        self._memory = GuestMemory()
        self.used_before = False
        """Whether the guest had used the device already when it was handed over: it was restored,
        or merely paused."""
        self._handlers: dict[int, Callable[[Message], bytes | None]] = {
            Request.GET_FEATURES: lambda _: struct.pack("<Q", FEATURES),
            Request.SET_FEATURES: self._set_features,
            Request.SET_OWNER: lambda _: None,
            Request.RESET_OWNER: lambda _: None,
            Request.SET_MEM_TABLE: self._set_memory,
            # What is written while a log is kept would have to be noted in it. It is never needed:
            # memory that is shared with a back-end lies in a file, which a snapshot takes as it is.
            Request.SET_LOG_BASE: lambda _: b"",
            Request.SET_LOG_FD: lambda _: None,
            Request.SET_VRING_NUM: self._set_size,
            Request.SET_VRING_ADDR: self._set_addresses,
            Request.SET_VRING_BASE: self._set_base,
            Request.GET_VRING_BASE: self._get_base,
            Request.SET_VRING_KICK: self._set_kick,
            Request.SET_VRING_CALL: self._set_call,
            Request.SET_VRING_ERR: lambda _: None,
            Request.GET_PROTOCOL_FEATURES: lambda _: struct.pack("<Q", PROTOCOL_FEATURES),
            Request.SET_PROTOCOL_FEATURES: lambda _: None,
            Request.GET_QUEUE_NUM: lambda _: struct.pack("<Q", len(self.rings)),
            Request.SET_VRING_ENABLE: self._enable,
            Request.GET_CONFIG: self._get_config,
            Request.SET_CONFIG: lambda _: None,
            Request.SET_STATUS: self._set_status,
            Request.GET_STATUS: lambda _: struct.pack("<Q", self._status),
        }

    @property
    def running(self) -> bool:
        """Whether both queues are in use."""
        return all(ring.running for ring in self.rings)

    async def serve(self, stream: MessageStream) -> None:
        """Answer until the front-end goes or talks nonsense; then let go of all that it handed over."""
        try:
            while (message := await stream.receive()) is not None:
                try:
                    await self._answer(stream, message)
                finally:
                    message.close()
        except (BadMessage, ConnectionError) as error:
            _log.warning("the front-end was left: %s", error, extra={"action": "peer.vsock.front_end_left"})
        finally:
            self._release()

    async def _answer(self, stream: MessageStream, message: Message) -> None:
        handler = self._handlers.get(message.request)
        if handler is None:
            raise BadMessage(f"request {message.request} is not known")
        _log.debug("%s", Request(message.request).name, extra={"action": "peer.vsock.request"})
        try:
            reply = handler(message)
        except (BadAddress, OSError, ValueError) as error:
            raise BadMessage(f"request {message.request} cannot be done: {error}") from error
        if reply is None and message.needs_reply:
            reply = struct.pack("<Q", 0)
        if reply is not None:
            await stream.reply(message.request, reply)
        self._changed()

    def _set_features(self, message: Message) -> None:
        (self._features,) = message.unpack("<Q")

    def _set_memory(self, message: Message) -> None:
        (count,) = message.unpack("<I")
        if count > _MAX_REGIONS:
            raise BadMessage(f"{count} regions of memory")
        fields = message.unpack(f"<8x{4 * count}Q")
        rows = zip(*(fields[index::4] for index in range(4)), strict=True)
        memory = GuestMemory(
            [
                Region.map(guest, size, user, offset, message.take_descriptor())
                for guest, size, user, offset in rows
            ]
        )
        self._memory.close()
        self._memory = memory
        for ring in self.rings:
            ring.memory = memory

    def _ring(self, index: int) -> Ring:
        if index >= len(self.rings):
            raise BadMessage(f"there is no queue {index}")
        return self.rings[index]

    def _set_size(self, message: Message) -> None:
        index, size = message.unpack("<II")
        self._ring(index).size = size

    def _set_addresses(self, message: Message) -> None:
        index, _, descriptors, used, available = message.unpack("<IIQQQ")
        self._ring(index).place(descriptors, used, available)

    def _set_base(self, message: Message) -> None:
        index, base = message.unpack("<II")
        self._ring(index).next_available = base & 0xFFFF
        self.used_before |= base != 0

    def _get_base(self, message: Message) -> bytes:
        (index,) = message.unpack("<I")
        ring = self._ring(index)
        self._stop(ring)
        return struct.pack("<II", index, ring.next_available)

    def _set_kick(self, message: Message) -> None:
        (value,) = message.unpack("<Q")
        ring = self._ring(value & 0xFF)
        self._unkick(ring)
        if value & _NO_DESCRIPTOR:
            raise BadMessage("queues without a kick descriptor are not polled")
        kick = ring.kick = message.take_descriptor()
        os.set_blocking(kick, False)
        # Without the negotiation of protocol features, a queue is enabled by its kick.
        ring.enabled = ring.enabled or not self._features & _PROTOCOL_FEATURES
        asyncio.get_running_loop().add_reader(kick, self._kicked, kick)

    def _set_call(self, message: Message) -> None:
        (value,) = message.unpack("<Q")
        ring = self._ring(value & 0xFF)
        _close(ring.call)
        ring.call = None if value & _NO_DESCRIPTOR else message.take_descriptor()

    def _enable(self, message: Message) -> None:
        index, on = message.unpack("<II")
        self._ring(index).enabled = bool(on)

    def _get_config(self, message: Message) -> bytes:
        offset, size, flags = message.unpack("<III")
        if offset + size > len(self._config):
            raise BadMessage(f"{size} bytes of configuration at {offset}")
        return struct.pack("<III", offset, size, flags) + self._config[offset : offset + size]

    def _set_status(self, message: Message) -> None:
        (self._status,) = message.unpack("<Q")

    def _kicked(self, kick: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(kick)
        self._changed()

    def _stop(self, ring: Ring) -> None:
        self._unkick(ring)
        ring.addresses = None

    def _unkick(self, ring: Ring) -> None:
        if ring.kick is not None:
            asyncio.get_running_loop().remove_reader(ring.kick)
            _close(ring.kick)
            ring.kick = None

    def _release(self) -> None:
        for ring in self.rings:
            self._stop(ring)
            _close(ring.call)
            ring.call = None
            ring.enabled = False
        self._memory.close()
        self.used_before = False
        self._changed()


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
