"""One channel: a request, the streams that belong to it, and its one RESULT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from emberbox.errors import EmberboxError, GuestRequestFailed, GuestTimeout, GuestViolation
from emberbox.guest.credit import ReceiveWindow
from emberbox.guest.deadline import PATIENCE_S, Deadline, Progress
from emberbox.guest.fields import Fields
from emberbox.guest.frames import (
    Frame,
    FrameType,
    decode_credit,
    decode_object,
    encode_credit,
    encode_object,
    violation,
)
from emberbox.guest.inbox import Inbox
from emberbox.guest.sending import Sending
from emberbox.tasks import set_within

if TYPE_CHECKING:
    from emberbox.guest.link import Link

T = TypeVar("T")
_E = TypeVar("_E", bound=EmberboxError)

MAX_EVENTS = 256
"""EVENT frames that one channel may carry."""
ABANDON_S = 10.0
"""How long an agent may take to end a channel that was cancelled; then it counts as hung."""

EventHandler = Callable[[str, Fields], None]


def same_again(error: _E) -> _E:
    """Return a copy of an error, so that each waiter raises one of its own."""
    if isinstance(error, GuestRequestFailed):
        return type(error)(error.reason, error.message, detail=error.detail)
    return type(error)(error.message, detail=error.detail)


class Channel(Generic[T]):
    """An open request. Made by `Session.open`; not for two readers of its pieces at once.

    Args:
        link: The session.
        number: The channel's id.
        operation: The request's `op`, for messages.
        parse: Makes the value from a RESULT that is ok; may raise `GuestViolation`.
        streams: Streams that may come from the guest.
        on_event: Called for each EVENT; may raise `GuestViolation`.
    """

    def __init__(
        self,
        link: Link,
        number: int,
        operation: str,
        parse: Callable[[Fields], T],
        *,
        streams: tuple[int, ...] = (),
        on_event: EventHandler | None = None,
    ) -> None:
        self.number = number
        self.operation = operation
        self.windows = {stream: ReceiveWindow() for stream in streams}
        self._link = link
        self._parse = parse
        self._on_event = on_event
        self.sending = Sending(link, number, lambda: self.done or self._abandoned is not None)
        self._inbox = Inbox()
        self._deadline = Deadline(link, self._inbox)
        self._events = 0
        self._done = asyncio.Event()
        self._arrived = asyncio.Event()
        self._value: T | None = None
        self._error: EmberboxError | None = None
        self._abandoned: asyncio.TimerHandle | None = None

    @property
    def done(self) -> bool:
        """Whether the RESULT has come or the session has ended."""
        return self._done.is_set()

    # what comes from the guest; called by the session alone

    def receive(self, frame: Frame) -> bool:
        """Take a frame; returns True when it was the RESULT. Raises `GuestViolation`."""
        match frame.type:
            case FrameType.DATA:
                self._receive_data(frame)
            case FrameType.RESULT:
                self._receive_result(Fields(decode_object(frame.payload), f"RESULT of {self.operation}"))
                return True
            case FrameType.CREDIT:
                if frame.stream != 0:
                    raise violation(f"CREDIT for stream {frame.stream}, which the host does not send")
                self.sending.grant(decode_credit(frame.payload))
            case _:
                self._receive_event(Fields(decode_object(frame.payload), f"EVENT of {self.operation}"))
        return False

    def _receive_data(self, frame: Frame) -> None:
        window = self.windows.get(frame.stream)
        if window is None:
            raise violation(f"DATA on stream {frame.stream}, which {self.operation} does not have")
        window.accept(len(frame.payload), end=frame.end)
        if self._abandoned is not None:
            self._consumed(frame.stream, len(frame.payload))
            return
        if frame.payload:
            self._inbox.put(frame.stream, frame.payload)
            self._deadline.arrived(len(frame.payload))
            self._arrived.set()

    def _receive_event(self, fields: Fields) -> None:
        self._events += 1
        if self._events > MAX_EVENTS:
            raise violation(f"more than {MAX_EVENTS} events on one channel")
        name = fields.token("event")
        if self._on_event is not None:
            self._on_event(name, fields)

    def _receive_result(self, fields: Fields) -> None:
        if any(window.started and not window.ended for window in self.windows.values()):
            raise violation("a RESULT ahead of the END of its streams")
        if fields.boolean("ok"):
            self._value = self._parse(fields)
        else:
            error = fields.object("error")
            self._error = GuestRequestFailed(
                error.token("code"), f"{self.operation}: {error.text('message')}"
            )
        self._finish()

    def fail(self, error: EmberboxError) -> None:
        """End the channel because its session has ended."""
        if not self.done:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self._deadline.clear()
        if self._abandoned is not None:
            self._abandoned.cancel()
        self._done.set()
        self._arrived.set()
        self.sending.wake()

    # what the caller does

    async def wait(self, timeout_s: float | None) -> T:
        """Wait for the RESULT and return its value. May be cancelled and called again.

        Raises:
            TimeoutError: No RESULT within `timeout_s` seconds; the channel stays open.
            GuestError: The request failed, or the session ended.
        """
        if not await set_within(self._done, timeout_s):
            raise TimeoutError
        if self._error is not None:
            raise same_again(self._error)
        return self._value  # type: ignore[return-value]

    async def answer(self, timeout_s: float) -> T:
        """Wait for a RESULT that an agent owes within a bound; an agent that fails it costs its session.

        Cancelling abandons the request.

        Raises:
            GuestTimeout: No RESULT within `timeout_s` seconds; the session is ended.
            GuestError: The request failed, or the session ended.
        """
        try:
            return await self.wait(timeout_s)
        except TimeoutError:
            raise self.hung(timeout_s) from None
        except asyncio.CancelledError:
            self.abandon()
            raise

    def expect(self, within_s: float | None, complaint: str, *, patience_s: float = PATIENCE_S) -> None:
        """Set by when the RESULT must have come, in place of what was set before.

        An agent that is late costs its session; arguments as for `Deadline.set`.
        """
        self._deadline.set(None if self.done else within_s, complaint, patience_s=patience_s)

    def watch(self, patience_s: float) -> None:
        """Let no RESULT be due, as long as the agent lives; see `Deadline.watch`."""
        if not self.done:
            self._deadline.watch(patience_s)

    def hung(self, timeout_s: float) -> GuestTimeout:
        """End the session of an agent that was silent for `timeout_s` seconds; returns the error to raise."""
        silent = f"the guest's agent did not answer {self.operation} within {timeout_s:g} s"
        return self._link.fail(GuestTimeout(f"{silent}; its sandbox was ended"))

    def broken(self, what: str) -> GuestViolation:
        """End the session for a guest that broke the protocol; returns the error to raise."""
        return self._link.fail(violation(what))

    def control(self, name: str, **fields: Any) -> None:
        """Send a CONTROL; does nothing once the channel is done."""
        if not self.done:
            self._link.send(FrameType.CONTROL, self.number, encode_object({"control": name, **fields}))

    def abandon(self) -> None:
        """Cancel the request and throw away what still comes. The agent has `ABANDON_S` to end it.

        Repeating is harmless.
        """
        if self.done or self._abandoned is not None:
            self._inbox.clear()
            return
        self._abandoned = asyncio.get_running_loop().call_later(ABANDON_S, self.hung, ABANDON_S)
        self.control("cancel")
        for stream, size in self._inbox.clear().items():
            self._consumed(stream, size)
        self._arrived.set()

    def _consumed(self, stream: int, size: int) -> None:
        grant = self.windows[stream].consume(size)
        if grant and not self.done:
            self._link.send(FrameType.CREDIT, self.number, encode_credit(grant), stream)

    async def pieces(self, stall_s: float | None) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield what comes until the channel is done; does not raise the request's error, `wait` does.

        Args:
            stall_s: How long the transfer may stand still; see `Progress`.

        Raises:
            GuestTimeout: It stood still for longer; the session is ended.
        """
        progress = Progress(stall_s)
        while True:
            while self._inbox:
                stream, data = self._inbox.take()
                self._consumed(stream, len(data))
                self._deadline.taken()
                progress.moved(len(data))
                yield stream, data
            if self.done or self._abandoned is not None:
                return
            self._arrived.clear()
            if not await progress.wait(self._arrived):
                raise self.hung(stall_s or 0)

    async def send_data(self, data: bytes, progress: Progress) -> None:
        """Send `data` on stream 0 as credit allows; drops it once the channel is done. One sender at a time.

        Args:
            data: What is sent.
            progress: That of the whole transfer, of which `data` may be a part.

        Raises:
            GuestTimeout: It stood still for too long; the session is ended.
        """
        try:
            await self.sending.send(data, progress)
        except TimeoutError:
            raise self.hung(progress.stall_s or 0) from None
