"""One session with an agent: the byte stream, its one reader, and the table of channels.

Whatever the guest does wrong ends the session, and everybody who waits learns why. What is bounded here:

- frames a second: a guest that sends more than `FRAMES_PER_SECOND` is read more slowly, so that it
  cannot keep the event loop from other sandboxes; that is no violation, for a program may well
  write byte by byte
- frames that carry nothing: by `emberbox.guest.credit` and `channel.MAX_EVENTS`, in proportion to
what the host did
- open channels: `MAX_CHANNELS`, and one more for `Session.pulse`
- memory: `MAX_CHANNELS` × 2 streams × 256 KiB, plus one frame
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import StreamReader, StreamWriter
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.errors import (
    EmberboxError,
    GuestError,
    GuestGone,
    GuestRequestFailed,
    GuestTimeout,
    GuestVersionMismatch,
)
from emberbox.guest.answers import read_nothing
from emberbox.guest.channel import Channel, EventHandler, same_again
from emberbox.guest.frames import (
    Frame,
    FrameDecoder,
    FrameType,
    encode,
    encode_object,
    violation,
)
from emberbox.guest.greeting import Greeting
from emberbox.net.pace import Pace
from emberbox.tasks import TaskKeeper, shielded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emberbox.guest.fields import Fields

T = TypeVar("T")
E = TypeVar("E", bound=EmberboxError)

MAX_CHANNELS = 63
"""Operations at once. The protocol's last channel is kept for finding out whether the agent lives."""
FRAMES_PER_SECOND = 20_000
"""Frames that are taken from a guest in a second, on average; as many may come at once after a quiet time."""
READ_BYTES = 131_072
UNSENT_BYTES = 262_144
"""Bytes that may wait for the guest's end before senders wait too."""
FLUSH_S = 60.0
"""How long a guest may read nothing while senders wait."""
CLOSE_S = 1.0

_log = logging.getLogger(__name__)


class Session:
    """A session over one connection. The reader starts at once; nothing is sent until something is asked for.

    Args:
        reader: What the guest sends.
        writer: Where to send to; closed with the session.
        name: Names the guest in logs.
    """

    def __init__(self, reader: StreamReader, writer: StreamWriter, *, name: str) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer
        self._channels: dict[int, Channel[Any]] = {}
        self._next = 0
        self._greeting = Greeting(self.send)
        self._ended = asyncio.Event()
        self.failure: EmberboxError | None = None
        """Why the session ended; None while it lives and after an orderly `close`."""
        self.on_failure: Callable[[EmberboxError], object] | None = None
        """Called once with the failure, when there is one, so that what is behind it can be ended."""
        self._pulse: Channel[None] | None = None
        self._keeper = TaskKeeper()
        self._task = self._keeper.start(self._run(), f"guest-reader-{name}")
        self._closing: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether the session is over, for whatever reason."""
        return self._ended.is_set()

    async def wait_ended(self) -> None:
        """Wait until the session is over."""
        await self._ended.wait()

    # sending

    def send(self, type_: FrameType, channel: int, payload: bytes = b"", flags: int = 0) -> None:
        """Put a frame on the wire; does nothing once the session has ended."""
        if not self.ended:
            self._writer.write(encode(type_, channel, payload, flags))

    async def flush(self) -> None:
        """Wait while too much is unsent.

        Raises:
            GuestTimeout: The guest read nothing for `FLUSH_S`; the session is ended.
            GuestError: The session ended meanwhile.
        """
        if self.ended or self._writer.transport.get_write_buffer_size() <= UNSENT_BYTES:
            return
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._writer.drain()
        except TimeoutError:
            deaf = f"the guest read nothing for {FLUSH_S:g} s; its sandbox was ended"
            raise self.fail(GuestTimeout(deaf)) from None
        except OSError as error:
            raise self.fail(gone()) from error

    def open(
        self,
        request: Mapping[str, Any],
        parse: Callable[[Fields], T],
        *,
        streams: tuple[int, ...] = (),
        on_event: EventHandler | None = None,
        most: int = MAX_CHANNELS,
    ) -> Channel[T]:
        """Send a REQUEST and return its channel, without waiting.

        Args:
            request: The JSON object, with `op`.
            parse: Makes the value from the RESULT.
            streams: Streams that the guest may send on.
            on_event: Called for each EVENT.
            most: How many channels may be open with it.

        Raises:
            GuestError: The session has ended.
            GuestRequestFailed: So many are open already (`busy`).
            InvalidInput: The request is too large or holds text that is not UTF-8.
        """
        self.check()
        if len(self._channels) >= most:
            raise GuestRequestFailed(
                "busy", f"{most} operations are under way in this sandbox; wait for one to end"
            )
        number = self._free_number()
        frame = encode(FrameType.REQUEST, number, encode_object(request))
        channel = Channel(self, number, str(request["op"]), parse, streams=streams, on_event=on_event)
        self._channels[number] = channel
        self._writer.write(frame)
        return channel

    def pulse(self, within_s: float) -> None:
        """Have the agent answer a ping within `within_s` seconds, or the session ends. Does not wait.

        Does nothing while an earlier one is under way.
        """
        closing = self.ended or self._closing is not None
        if closing or (self._pulse is not None and not self._pulse.done):
            return
        self._pulse = self.open({"op": "ping"}, read_nothing, most=MAX_CHANNELS + 1)
        silent = f"the guest's agent gave no sign of life within {within_s:g} s; its sandbox was ended"
        self._pulse.expect(within_s, silent)

    def check(self) -> None:
        """Raise the session's end, if it has come."""
        if self.failure is not None:
            raise same_again(self.failure)
        if self.ended or self._closing is not None:
            raise GuestGone("the connection to the guest was closed")

    def _free_number(self) -> int:
        while True:
            self._next = self._next % (2**32 - 1) + 1
            if self._next not in self._channels:
                return self._next

    async def greet(self, *, timeout_s: float, host_version: str) -> dict[str, Any]:
        """Wait for the agent's HELLO and answer it; returns it.

        Raises:
            GuestTimeout: No HELLO within `timeout_s` seconds; the session goes on.
            GuestError: The session ended, also because the agent speaks another version or refused ours.
        """
        hello = await self._greeting.exchange(timeout_s=timeout_s, host_version=host_version)
        self.check()
        return hello

    # receiving

    async def _run(self) -> None:
        try:
            await self._read()
            self.fail(gone())
        except GuestError as error:
            # A mismatch is the agent's to hear of; what was written goes out first.
            self.fail(error, abort=not isinstance(error, GuestVersionMismatch))
        except OSError as error:
            _log.debug(
                "stream to guest broke: %s", error, extra={"action": "guest.gone", "guest": self._name}
            )
            self.fail(gone())
        except Exception as error:
            _log.exception("reader failed", extra={"action": "guest.reader_failed", "guest": self._name})
            self.fail(
                GuestError(
                    "the host failed to read from the guest; its sandbox was ended", detail=repr(error)
                )
            )

    async def _read(self) -> None:
        decoder = FrameDecoder()
        pace = Pace(FRAMES_PER_SECOND, at_once=FRAMES_PER_SECOND)
        while data := await self._reader.read(READ_BYTES):
            frames = 0
            for frame in decoder.feed(data):
                frames += 1
                self._dispatch(frame)
                if self.ended:
                    return
            if pause_s := pace.pause_s(frames):
                await asyncio.sleep(pause_s)

    def _dispatch(self, frame: Frame) -> None:
        if not frame.channel:
            self._greeting.receive(frame)
            return
        channel = self._channels.get(frame.channel)
        if channel is None:
            raise violation(f"{frame.type.name} on a channel that is not open")
        if channel.receive(frame):
            del self._channels[frame.channel]

    # the end

    def fail(self, error: E, *, abort: bool = True) -> E:
        """End the session: everybody who waits gets `error`, the connection goes. Repeating is harmless.

        Args:
            error: Why.
            abort: False lets what was written before go out.

        Returns:
            A copy of the error, to raise.
        """
        if not self.ended:
            self.failure = error
            _log.info(
                "session ended: %s",
                error,
                extra={"action": "guest.session_failed", "guest": self._name, "code": error.code},
            )
            self._end(error, abort=abort)
            if self.on_failure is not None:
                self.on_failure(error)
        return same_again(error)

    def _end(self, error: EmberboxError, *, abort: bool) -> None:
        self._ended.set()
        self._greeting.stop()
        channels, self._channels = list(self._channels.values()), {}
        for channel in reversed(channels):
            channel.fail(error)
        if abort:
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def close(self) -> None:
        """End the session in order. Finishes even when cancelled; repeating is harmless."""
        if self._closing is None:
            self._closing = self._keeper.start(self._close(), f"guest-close-{self._name}")
        await shielded(self._closing)

    async def _close(self) -> None:
        if not self.ended:
            self._end(GuestGone("the connection to the guest was closed"), abort=False)
        self._task.cancel()
        await asyncio.wait((self._task,))
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        self._writer.transport.abort()


def gone() -> GuestGone:
    """Return the error for a stream that ended."""
    return GuestGone("the connection to the guest ended; its VM may have stopped")
