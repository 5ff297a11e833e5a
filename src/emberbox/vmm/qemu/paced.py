"""The QMP library's client, held to what a QEMU may cost that its guest has taken over.

The library reads as fast as QEMU writes, and gives the event loop no turn while there is more: a
flood of events would hold up every other machine. Here each message is followed by a turn for
others, and more than a control connection ever needs is read slowly.
"""

from __future__ import annotations

import asyncio
import logging

from qemu.qmp import Message, QMPClient

from emberbox.net.pace import Pace

LONGEST_LINE = 65_536
"""Bytes of the longest answer or event that is read; QEMU's own have a few thousand."""
PER_SECOND = 500
"""Messages that are read in a second, on average; a long one counts for several."""
AT_ONCE = 1_000
"""Messages that are read without a pause after a quiet time."""
_MESSAGE_BYTES = 1_024


class PacedClient(QMPClient):
    """A client that reads at a pace. Nothing more is read once `stop` was called."""

    def __init__(self, name: str) -> None:
        super().__init__(name, readbuflen=LONGEST_LINE)
        self._pace = Pace(PER_SECOND, AT_ONCE)
        self._stopped = False

    def stop(self) -> None:
        """Let the connection end, whatever is still to be read."""
        self._stopped = True

    async def _do_recv(self) -> Message:
        line = await self._readline()
        # Without a pause, too, others get their turn.
        await asyncio.sleep(self._pace.pause_s(1 + len(line) // _MESSAGE_BYTES))
        if self._stopped:
            raise EOFError
        return Message(line, eager=True)

    def _cb_inbound(self, msg: Message) -> Message:
        # The library makes a text of each message, also for a log that nobody keeps.
        return super()._cb_inbound(msg) if self.logger.isEnabledFor(logging.DEBUG) else msg
