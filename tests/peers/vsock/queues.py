"""Packets in and out of the guest's two queues."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .memory import BadAddress
from .packet import HEADER, Packet

if TYPE_CHECKING:
    from .ring import Chain, Ring

_log = logging.getLogger(__name__)

_MAX_PACKET = 64 * 1024 + HEADER.size
"""Linux sends no larger ones."""


class Queues:
    """What the guest receives from, and what it transmits to.

    A queue that holds nonsense is not read any more.
    """

    def __init__(self, receive: Ring, transmit: Ring) -> None:
        self._receive = receive
        self._transmit = transmit

    def room(self) -> int:
        """Return how many bytes the next packet to the guest may carry; negative where none can be sent."""
        chain = self._peek(self._receive)
        return -1 if chain is None else chain.room - HEADER.size

    def put(self, packet: Packet) -> None:
        """Send a packet, for which there is room."""
        chain = self._peek(self._receive)
        if chain is None:
            return
        raw = packet.encode()
        try:
            self._receive.write(chain, raw)
            self._receive.give_back(chain, len(raw))
        except BadAddress as error:
            self._give_up(self._receive, error)

    def take(self) -> tuple[Packet | None] | None:
        """Return the guest's next packet in a tuple, with None for nonsense; None when there is none."""
        chain = self._peek(self._transmit)
        if chain is None:
            return None
        try:
            whole = sum(size for _, size in chain.readable) <= _MAX_PACKET
            packet = Packet.decode(self._transmit.read(chain)) if whole else None
            self._transmit.give_back(chain, 0)
        except BadAddress as error:
            self._give_up(self._transmit, error)
            return None
        return (packet,)

    def notify(self) -> None:
        """Interrupt the guest where it waits for what was done."""
        for ring in (self._receive, self._transmit):
            ring.notify()

    def _peek(self, ring: Ring) -> Chain | None:
        try:
            return ring.peek()
        except BadAddress as error:
            self._give_up(ring, error)
            return None

    def _give_up(self, ring: Ring, error: BadAddress) -> None:
        _log.warning("a queue is broken: %s", error, extra={"action": "peer.vsock.queue_broken"})
        ring.enabled = False
