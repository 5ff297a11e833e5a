"""Programs that a fake agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from emberbox.guest.credit import INITIAL_CREDIT, ReceiveWindow
from emberbox.guest.frames import END, MAX_DATA, FrameType, encode_credit

Send = Callable[[FrameType, int, bytes, int], None]
_STREAMS = {"stdout": 1, "stderr": 2}


class FakeRun:
    """One request that a fake agent carries out; a program's view of its world.

    Attributes:
        request: The host's JSON object.
        signals: Numbers of the signals that came; 9 for `kill`.
        stopped: Set by the host's `cancel` or `kill`; the agent then ends the run by itself.
    """

    def __init__(self, number: int, request: dict[str, Any], send: Send) -> None:
        self.request = request
        self.signals: list[int] = []
        self.stopped = asyncio.Event()
        self.credit = {1: INITIAL_CREDIT, 2: INITIAL_CREDIT}
        self.sent = {1: 0, 2: 0}
        self._number = number
        self._send = send
        self._window = ReceiveWindow()
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self._granted = asyncio.Event()
        self._ended: set[int] = set()

    # the host's frames

    def feed(self, data: bytes, *, end: bool) -> None:
        """Take a DATA frame of stream 0."""
        self._window.accept(len(data), end=end)
        if data:
            self._input.put_nowait(data)
        if end:
            self._input.put_nowait(b"")

    def grant(self, stream: int, amount: int) -> None:
        """Take a CREDIT frame."""
        self.credit[stream] += amount
        self._granted.set()

    def control(self, values: dict[str, Any]) -> None:
        """Take a CONTROL frame."""
        match values.get("control"):
            case "signal":
                self.signals.append(values["signal"])
            case "kill":
                self.signals.append(9)
                self.stopped.set()
            case "cancel":
                self.stopped.set()

    # the program's calls

    async def read(self) -> bytes:
        """Return the next piece of stream 0; empty at its end, and from then on."""
        data = await self._input.get()
        if not data:
            self._input.put_nowait(b"")
        elif grant := self._window.consume(len(data)):
            self._send(FrameType.CREDIT, self._number, encode_credit(grant), 0)
        return data

    async def read_all(self) -> bytes:
        """Return all of stream 0."""
        pieces = []
        while data := await self.read():
            pieces.append(data)
        return b"".join(pieces)

    async def write(self, data: bytes, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        """Send `data` as credit allows."""
        number, rest = _STREAMS[stream], memoryview(data)
        while rest:
            size = min(len(rest), MAX_DATA, self.credit[number])
            if not size:
                self._granted.clear()
                await self._granted.wait()
                continue
            self.credit[number] -= size
            self.sent[number] += size
            self._send(FrameType.DATA, self._number, bytes(rest[:size]), number)
            rest = rest[size:]
            await asyncio.sleep(0)

    def end(self, stream: int) -> None:
        """Send the END of a stream, once."""
        if stream not in self._ended:
            self._ended.add(stream)
            self._send(FrameType.DATA, self._number, b"", stream | END)


Program = Callable[[FakeRun], Awaitable[int | dict[str, Any]]]
"""What `exec` runs: returns an exit code, or fields of the RESULT that replace the usual ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeProgram:
    """A program that writes what it is told to.

    Args:
        stdout: Written to standard output.
        stderr: Written to standard error.
        exit_code: Returned at the end.
        delay_s: Waited first, in seconds.
        echo: Copies standard input to standard output.
        result: Fields of the RESULT that replace the usual ones.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    delay_s: float = 0.0
    echo: bool = False
    result: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, run: FakeRun) -> int | dict[str, Any]:
        """Run it."""
        await asyncio.sleep(self.delay_s)
        await run.write(self.stdout)
        await run.write(self.stderr, "stderr")
        while self.echo and (data := await run.read()):
            await run.write(data)
        return {"exit_code": self.exit_code, **self.result}
