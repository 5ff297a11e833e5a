"""A program that runs in a guest."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from emberbox.errors import GuestTimeout, InvalidInput
from emberbox.guest.answers import MAX_PID, ExecOutcome, read_outcome
from emberbox.guest.deadline import PATIENCE_S, Progress
from emberbox.guest.frames import violation
from emberbox.model import Output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from emberbox.guest.channel import Channel
    from emberbox.guest.fields import Fields
    from emberbox.guest.session import Session

GRACE_S = 10.0
"""How long after a program's own limit the agent may take to say that it has ended it."""
CANCEL_S = 5.0
"""How long an agent may take to end a program that is killed or cancelled."""
_STDOUT, _STDERR = 1, 2
_NAMES: dict[int, Literal["stdout", "stderr"]] = {_STDOUT: "stdout", _STDERR: "stderr"}


class GuestProcess:
    """A running exec. Made by `GuestClient.start`.

    Either iterate `output` or call `collect`, once. What is not consumed waits in the guest: at
    most 256 KiB of each stream are held here, and a program that writes more blocks on its pipe.

    The host's own clock bounds it from the first moment on, whether anybody waits or not: an agent
    that does not begin in time, a program that goes on for `GRACE_S` after its limit, and an agent
    that shows no life under one without a limit, end the session.

    Args:
        session: Where it runs.
        request: The exec's fields.
        stdin: Whether it can be fed.
        limit_s: Its own limit of wall-clock time, which the agent keeps; None for none.
        patience_s: How long the agent may take to begin, and to show that it lives.
    """

    def __init__(
        self,
        session: Session,
        request: dict[str, Any],
        *,
        stdin: bool,
        limit_s: float | None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._limit_s = limit_s
        self._due: float | None = None
        self._patience_s = patience_s
        self.pid: int | None = None
        """The main process's id in the guest; None until the agent said `started`."""
        self.waiting = False
        """Whether a waiting interpreter took the run."""
        self._outcome: ExecOutcome | None = None
        self._now = asyncio.get_running_loop().time
        self._stdin = stdin
        self._stdin_lock = asyncio.Lock()
        self._channel: Channel[ExecOutcome] = session.open(
            request, self._read_outcome, streams=(_STDOUT, _STDERR), on_event=self._on_event
        )
        self._channel.expect(
            patience_s, f"the agent began no program within {patience_s:g} s; its sandbox was ended"
        )

    @property
    def ended(self) -> bool:
        """Whether the outcome is known or the session has ended."""
        return self._channel.done

    @property
    def overdue(self) -> bool:
        """Whether the program had no outcome `GRACE_S` after its limit."""
        return self._outcome is None and self._due is not None and self._now() >= self._due

    def _read_outcome(self, fields: Fields) -> ExecOutcome:
        windows = self._channel.windows
        self._outcome = read_outcome(
            fields, received=(windows[_STDOUT].received, windows[_STDERR].received), waiting=self.waiting
        )
        return self._outcome

    def _on_event(self, name: str, fields: Fields) -> None:
        if name != "started":
            return
        if self.pid is not None:
            raise violation("a program that started twice")
        self.pid = fields.integer("pid", low=1, high=MAX_PID)
        self.waiting = fields.boolean("waiting", default=False)
        if self._limit_s is None:
            self._channel.watch(self._patience_s)
            return
        late = f"the program still ran {GRACE_S:g} s after its limit of {self._limit_s:g} s"
        within_s = self._limit_s + GRACE_S
        self._due = self._now() + within_s
        self._channel.expect(within_s, f"{late}; its sandbox was ended", patience_s=self._patience_s)

    async def write_stdin(self, data: bytes) -> None:
        """Send `data` to the program; waits while it does not read.

        Dropped without a word once the program has ended.
        Cancelling may leave a part sent.

        Raises:
            InvalidInput: The request had `stdin=False`, or `close_stdin` was called.
        """
        if not self._stdin:
            raise InvalidInput("this program was started without standard input")
        async with self._stdin_lock:
            if self._channel.sending.ended:
                raise InvalidInput("the program's standard input was closed already")
            await self._channel.send_data(data, Progress(None))

    async def close_stdin(self) -> None:
        """Let the program see the end of its input, after what was written. Repeating is harmless."""
        if self._stdin:
            async with self._stdin_lock:
                self._channel.sending.end()

    async def output(self) -> AsyncGenerator[Output, None]:
        """Yield output as it arrives, until the program has ended; then `result` does not wait.

        Leaving early is fine.
        """
        async with aclosing(self._channel.pieces(None)) as pieces:
            async for stream, data in pieces:
                yield Output(_NAMES[stream], data)

    async def signal(self, number: int) -> None:
        """Send a signal (1 to 64) to the main process; does nothing once it has ended."""
        if not 1 <= number <= 64:
            raise InvalidInput(f"a signal's number is 1 to 64, not {number}")
        self._channel.control("signal", signal=number)

    async def kill(self) -> None:
        """Kill the whole process group; the outcome follows as usual.

        An agent that does not see to that within `CANCEL_S` costs its session.
        """
        self._end("kill")

    async def cancel(self) -> None:
        """End the run; its outcome says `cancelled`.

        An agent that does not see to that within `CANCEL_S` costs its session.
        """
        self._end("cancel")

    def _end(self, control: str) -> None:
        self._channel.control(control)
        self._channel.expect(
            CANCEL_S,
            f"the agent did not end the program within {CANCEL_S:g} s; its sandbox was ended",
            patience_s=CANCEL_S,
        )

    def abandon(self) -> None:
        """Cancel the run and throw away its output; the agent must end it within seconds.

        Repeating is harmless.
        """
        self._channel.abandon()

    async def result(self, *, timeout_s: float | None) -> ExecOutcome:
        """Wait for the outcome.

        Does not consume output: a program that writes more than fits never ends by itself.
        May be cancelled and called again.

        Args:
            timeout_s: Seconds to wait; None for no bound but the run's own limits.

        Raises:
            GuestTimeout: It still runs; nothing was done to it.
            GuestRequestFailed: The agent did not take the request.
            GuestError: The session ended.
        """
        try:
            return await self._channel.wait(timeout_s)
        except TimeoutError:
            raise _still_runs(timeout_s) from None

    async def collect(
        self,
        *,
        stdin: bytes | AsyncIterable[bytes] | None = None,
        keep_stdout: int | None,
        keep_stderr: int | None,
        timeout_s: float | None,
    ) -> ExecOutcome:
        """Feed `stdin`, read everything, and return the outcome with the first bytes of both streams.

        When this is cancelled, times out, or `stdin` raises, the run is abandoned.

        Args:
            stdin: Sent and then closed; None closes it at once.
            keep_stdout: Bytes to keep, whatever the guest sends; None for all (then the request's
                limits are the only bound).
            keep_stderr: The same for standard error.
            timeout_s: Seconds for all of it; None for no bound but the run's own limits.

        Raises:
            GuestTimeout: It ran for longer; it is abandoned.
            GuestRequestFailed: The agent did not take the request.
            GuestError: The session ended.
        """
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                kept = await self._exchange(stdin, {_STDOUT: keep_stdout, _STDERR: keep_stderr})
                outcome = await self._channel.wait(None)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise _still_runs(timeout_s) from None
        finally:
            self._channel.abandon()
        return replace(outcome, stdout=bytes(kept[_STDOUT]), stderr=bytes(kept[_STDERR]))

    async def _exchange(
        self, stdin: bytes | AsyncIterable[bytes] | None, most: dict[int, int | None]
    ) -> dict[int, bytearray]:
        if not self._stdin or not stdin:
            await self.close_stdin()
            return await self._read(most)
        feeder = asyncio.create_task(self._feed(stdin), name="guest-stdin")
        feeder.add_done_callback(self._fed)
        try:
            kept = await self._read(most)
        finally:
            feeder.cancel()
            await asyncio.wait((feeder,))
        if not feeder.cancelled():
            feeder.result()
        return kept

    def _fed(self, feeder: asyncio.Task[None]) -> None:
        if not feeder.cancelled() and feeder.exception() is not None:
            self._channel.abandon()

    async def _feed(self, stdin: bytes | AsyncIterable[bytes]) -> None:
        if isinstance(stdin, bytes):
            await self.write_stdin(stdin)
        else:
            async for data in stdin:
                if self.ended:
                    return
                await self.write_stdin(data)
        await self.close_stdin()

    async def _read(self, most: dict[int, int | None]) -> dict[int, bytearray]:
        """Take all output; returns the first bytes of each stream, as many as `most` says."""
        kept = {stream: bytearray() for stream in most}
        async with aclosing(self._channel.pieces(None)) as pieces:
            async for stream, data in pieces:
                bound = most[stream]
                kept[stream] += data if bound is None else data[: bound - len(kept[stream])]
        return kept


def _still_runs(timeout_s: float | None) -> GuestTimeout:
    return GuestTimeout(f"the program still ran after {timeout_s or 0:g} s")
