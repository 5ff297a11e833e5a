"""A guest's agent without a guest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from asyncio import StreamReader, StreamWriter
from typing import TYPE_CHECKING, Any

from emberbox.errors import GuestViolation
from emberbox.guest.frames import (
    FROM_HOST,
    MINOR,
    PROTOCOL,
    Frame,
    FrameDecoder,
    FrameType,
    decode_credit,
    decode_object,
    encode,
    encode_object,
)
from emberbox.tasks import TaskKeeper
from emberbox.testing.files import FakeFiles, Refused
from emberbox.testing.misconduct import Misconduct, misconduct_bytes
from emberbox.testing.programs import FakeProgram, FakeRun, Program

if TYPE_CHECKING:
    from collections.abc import Mapping

_STREAMS = {"exec": (1, 2), "read_file": (1,), "list": (1,), "tar_out": (1,)}
_HELLO = {
    "protocol": PROTOCOL,
    "minor": MINOR,
    "agent": "0.1.0",
    "features": ["exec", "files", "tar", "waiting"],
}


class FakeAgent:
    r"""Speaks the guest protocol over a socket pair, runs scripted programs, and keeps files in memory.

    ::

        agent = FakeAgent(program=FakeProgram(stdout=b"hello\\n"))
        client = GuestClient(*await agent.connect())
        await client.hello(timeout_s=60)

    Args:
        program: What each exec runs.
        files: Files that are there, by path; see `files` afterwards.
        clone: True does not greet, as in a clone whose session goes on.
        hello: Fields that replace those of the HELLO.
        slow_s: Seconds that each request waits before it is carried out.
        silent: True takes requests and answers none.
        misconduct: What is sent in answer to the first request, in place of its RESULT.

    Attributes:
        requests: What the host asked, oldest first.
        complaints: What the host did against the protocol; empty if all is well.
        greetings: The host's HELLO and REFUSE objects.
        operations: What carries out each `op`; replace one to script its answer.
        runs: What is under way, by channel.
        silent: Whether requests go unanswered from now on.
    """

    def __init__(
        self,
        *,
        program: Program | None = None,
        files: Mapping[str, bytes] | None = None,
        clone: bool = False,
        hello: Mapping[str, Any] | None = None,
        slow_s: float = 0.0,
        silent: bool = False,
        misconduct: Misconduct | None = None,
    ) -> None:
        self.program = program or FakeProgram()
        self.storage = FakeFiles(dict(files or {}))
        self.requests: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.greetings: list[dict[str, Any]] = []
        self.runs: dict[int, FakeRun] = {}
        self.clone = clone
        self._hello = {**_HELLO, **(hello or {})}
        self._slow_s = slow_s
        self.silent = silent
        self._misconduct = misconduct
        self._keeper = TaskKeeper()
        self._writer: StreamWriter | None = None
        self._clock_ns = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.operations = {**self.storage.operations(), "exec": self._exec}

    @property
    def files(self) -> dict[str, bytes]:
        """The files by absolute path."""
        return self.storage.files

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """Start the agent and return the host's end of its stream. Once only."""
        mine, theirs = socket.socketpair()
        reader, self._writer = await asyncio.open_connection(sock=mine)
        self._start(self._serve(reader))
        return await asyncio.open_connection(sock=theirs)

    async def wait_idle(self, *, timeout_s: float = 180.0) -> None:
        """Wait until nothing is under way; raises `TimeoutError` after `timeout_s` seconds."""
        async with asyncio.timeout(timeout_s):
            await self._idle.wait()

    async def close(self) -> None:
        """Hang up and end all that runs. Repeating is harmless."""
        await self._keeper.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def __aenter__(self) -> FakeAgent:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def send(self, type_: FrameType, channel: int, payload: bytes = b"", flags: int = 0) -> None:
        """Put a frame on the wire."""
        self.send_raw(encode(type_, channel, payload, flags))

    def send_raw(self, data: bytes) -> None:
        """Put bytes on the wire, whatever they are."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    def _start(self, work: Any) -> None:
        self._keeper.start(work, "fake-agent")

    async def _serve(self, reader: StreamReader) -> None:
        decoder = FrameDecoder(FROM_HOST)
        if not self.clone:
            self.send(FrameType.HELLO, 0, encode_object(self._hello))
        try:
            while data := await reader.read(65536):
                for frame in decoder.feed(data):
                    self._dispatch(frame)
        except GuestViolation as error:
            self.complaints.append(error.message)
        except OSError:
            return

    def _dispatch(self, frame: Frame) -> None:
        run = self.runs.get(frame.channel)
        match frame.type:
            case FrameType.HELLO | FrameType.REFUSE:
                self._greeted(frame)
            case FrameType.REQUEST if run is not None:
                self.complaints.append(f"channel {frame.channel} opened twice")
            case FrameType.REQUEST:
                self._requested(frame)
            case FrameType.DATA if run is not None:
                run.feed(frame.payload, end=frame.end)
            case FrameType.CREDIT if run is not None:
                run.grant(frame.stream, decode_credit(frame.payload))
            case FrameType.CONTROL if run is not None:
                run.control(decode_object(frame.payload))

    def _greeted(self, frame: Frame) -> None:
        self.greetings.append(decode_object(frame.payload))
        if len(self.greetings) > 1 and frame.type is FrameType.HELLO:
            self.send(FrameType.HELLO, 0, encode_object(self._hello))

    def _requested(self, frame: Frame) -> None:
        request = decode_object(frame.payload)
        self.requests.append(request)
        if self._misconduct is not None and len(self.requests) == 1:
            self.send_raw(misconduct_bytes(self._misconduct, frame.channel))
            return
        if not self.silent:
            self._idle.clear()
            run = self.runs[frame.channel] = FakeRun(frame.channel, request, self.send)
            self._start(self._carry_out(frame.channel, run))

    async def _carry_out(self, number: int, run: FakeRun) -> None:
        if self._slow_s:
            await asyncio.sleep(self._slow_s)
        operation = run.request["op"]
        try:
            result = {"ok": True, **await self._outcome(operation, run)}
        except Refused as refusal:
            result = {"ok": False, "error": {"code": refusal.args[0], "message": refusal.args[1]}}
        for stream in _STREAMS.get(operation, ()):
            run.end(stream)
        del self.runs[number]
        if not self.runs:
            self._idle.set()
        self.send(FrameType.RESULT, number, json.dumps(result).encode())

    async def _outcome(self, operation: str, run: FakeRun) -> dict[str, Any]:
        handler = self.operations.get(operation)
        if handler is None:
            return self._simple(operation, run.request)
        work = asyncio.ensure_future(handler(run))
        stop = asyncio.ensure_future(run.stopped.wait())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        finally:
            work.cancel()
            stop.cancel()
            await asyncio.wait((work, stop))
        if operation != "exec":
            raise Refused("cancelled", "the host cancelled it")
        reason = "signalled" if 9 in run.signals else "cancelled"
        return _exec_result(run, {"reason": reason, "exit_code": None, "signal": 9})

    async def _exec(self, run: FakeRun) -> dict[str, Any]:
        number = next(number for number, other in self.runs.items() if other is run)
        self.send(
            FrameType.EVENT,
            number,
            b'{"event":"started","pid":%d,"waiting":false}' % (100 + len(self.requests)),
        )
        outcome = await self.program(run)
        return _exec_result(run, {"exit_code": outcome} if isinstance(outcome, int) else outcome)

    def _simple(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "ping" | "flush" | "shutdown":
                return {}
            case "info":
                machine = {"kernel": "6.1.0", "uptime_ms": 1000, "memory_total": 1 << 28, "cpus": 1}
                return machine | {"agent": self._hello["agent"], "features": self._hello["features"]}
            case "prepare":
                return {"waiting": request["waiting"] is not None, "waiting_error": None}
            case "resume" | "clock":
                before, self._clock_ns = self._clock_ns, request["unix_ns"]
                return {"before_unix_ns": before, "unix_ns": self._clock_ns}
            case "metrics":
                times = {
                    "uptime_ms": 1000,
                    "cpu_user_ms": 10,
                    "cpu_system_ms": 5,
                    "processes": 4,
                    "load1": 0.1,
                }
                sizes = {
                    "memory_total": 1 << 28,
                    "memory_available": 1 << 27,
                    "disk_total": 1 << 30,
                    "disk_used": 1 << 20,
                }
                return times | sizes
        raise Refused("unknown_op", f"no operation {operation}")


def _exec_result(run: FakeRun, changes: dict[str, Any]) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "reason": "exited",
        "exit_code": 0,
        "signal": None,
        "message": None,
        "errno_name": None,
    }
    usual |= {
        "wall_us": 1000,
        "cpu_user_us": 500,
        "cpu_system_us": 100,
        "peak_memory_bytes": 1 << 20,
        "pids_denied": 0,
    }
    return usual | {"stdout_bytes": run.sent[1], "stderr_bytes": run.sent[2]} | changes
