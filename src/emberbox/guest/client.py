"""The host's side of the guest protocol, as typed operations."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError, GuestGone, GuestTimeout, GuestViolation, InvalidInput
from emberbox.guest.answers import (
    AgentInfo,
    PrepareResult,
    read_clock,
    read_hello,
    read_info,
    read_metrics,
    read_nothing,
    read_prepare,
    read_resume,
)
from emberbox.guest.deadline import PATIENCE_S
from emberbox.guest.fields import Fields
from emberbox.guest.files import FileOperations
from emberbox.guest.frames import MAX_JSON, encode_object
from emberbox.guest.process import GuestProcess
from emberbox.guest.session import Session

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable, Sequence

    from emberbox.guest.channel import Channel
    from emberbox.guest.requests import ExecRequest, HeldCommand, WaitingSpec
    from emberbox.model import GuestMetrics

ANSWER_S = 10.0
"""How long an agent may take to answer what costs it nothing."""


class GuestClient(FileOperations):
    """The connection to one guest's agent, which it trusts in nothing.

    A guest that breaks the protocol, keeps silent, or goes away fails the session: every call then
    raises the same error and `failure` holds it; the sandbox is of no use any more. An operation
    that the agent answers with an error raises `GuestRequestFailed` and harms nothing else. Any
    number of operations may run at once, up to `session.MAX_CHANNELS`. Each of them is bounded by
    the host's clock; see `emberbox.guest.deadline`.

    It takes over a connection and starts reading; it sends nothing yet.

    Args:
        reader: What the guest sends.
        writer: Where to send to; closed with the client.
        name: Names the guest in logs.
    """

    def __init__(self, reader: StreamReader, writer: StreamWriter, *, name: str = "guest") -> None:
        self._session = Session(reader, writer, name=name)

    @property
    def closed(self) -> bool:
        """Whether the session is over, for whatever reason."""
        return self._session.ended

    @property
    def failure(self) -> EmberboxError | None:
        """Why the session ended; None while it lives and after an orderly `close`."""
        return self._session.failure

    def when_lost(self, call: Callable[[EmberboxError], object]) -> None:
        """Have `call` called with the failure that ends the session; at once where it has failed already.

        Not called after an orderly `close`. A later call replaces an earlier one's.
        """
        self._session.on_failure = call
        if self._session.failure is not None:
            call(self._session.failure)

    async def wait_closed(self) -> None:
        """Wait until the session is over."""
        await self._session.wait_ended()

    async def close(self) -> None:
        """End the session: what waits is failed, newest first.

        Finishes even when cancelled; repeating is harmless.
        """
        await self._session.close()

    async def hello(self, *, timeout_s: float) -> AgentInfo:
        """Greet an agent that was booted cold. Clones are not greeted: their first request is `resume`.

        Raises:
            GuestVersionMismatch: It speaks another version; the session is ended.
            GuestTimeout: No HELLO within `timeout_s` seconds; the session is ended.
            GuestError: The session ended.
        """
        from importlib.metadata import PackageNotFoundError, version

        try:
            mine = version("emberbox")
        except PackageNotFoundError:
            mine = "0"
        try:
            values = await self._session.greet(timeout_s=timeout_s, host_version=mine)
            return read_hello(Fields(values, "HELLO"))
        except (GuestTimeout, GuestViolation) as error:
            self._session.fail(error)
            raise

    def start_resume(
        self,
        *,
        entropy: bytes,
        unix_ns: int,
        hostname: str,
        disk_bytes: int | None = None,
        within_s: float | None = None,
    ) -> Channel[int]:
        """Send `resume` without waiting; the agent carries it out before what is sent behind it.

        `Channel.answer` of what is returned waits for the guest's clock in ns.

        Args:
            entropy: 32 to 512 fresh random bytes for the guest's kernel.
            unix_ns: The time in ns since 1970.
            hostname: The clone's own name.
            disk_bytes: Size that the scratch disk has now; None without one.
            within_s: After how many seconds without an answer the session is ended, whether anybody
                waits for it or not; None for no bound.
        """
        if not 32 <= len(entropy) <= 512:
            raise InvalidInput(f"a clone takes 32 to 512 bytes of entropy, not {len(entropy)}")
        request = {
            "op": "resume",
            "entropy": base64.b64encode(entropy).decode("ascii"),
            "unix_ns": unix_ns,
            "hostname": hostname,
            "disk_bytes": disk_bytes,
        }
        channel = self._session.open(request, read_resume)
        channel.expect(
            within_s,
            f"the clone's agent gave no first answer within {within_s or 0:g} s; its sandbox was ended",
        )
        return channel

    async def clock(self, unix_ns: int, *, timeout_s: float = ANSWER_S) -> tuple[int, int]:
        """Set the guest's clock; returns it in ns before and after."""
        return await self._ask({"op": "clock", "unix_ns": unix_ns}, read_clock, timeout_s)

    async def ping(self, *, timeout_s: float = 5.0) -> None:
        """Find out that the agent answers within `timeout_s` seconds; the session is ended if not."""
        await self._ask({"op": "ping"}, read_nothing, timeout_s)

    async def info(self) -> AgentInfo:
        """Return who answers, and in what machine."""
        return await self._ask({"op": "info"}, read_info, ANSWER_S)

    async def metrics(self) -> GuestMetrics:
        """Return the guest's own count of itself."""
        return await self._ask({"op": "metrics"}, read_metrics, ANSWER_S)

    async def prepare(
        self,
        *,
        waiting: WaitingSpec | None,
        held: Sequence[HeldCommand] = (),
        timeout_s: float,
    ) -> PrepareResult:
        """Make a template ready: start what is to wait, in place of what waited.

        Args:
            waiting: The interpreter that takes orders; None for none.
            held: Commands that are held at their script.
            timeout_s: Seconds until the agent counts as hung.
        """
        fields = {
            "waiting": None if waiting is None else waiting.fields(),
            "held": [command.fields() for command in held],
            "work_bytes": None,
        }
        return await self._ask({"op": "prepare", **fields}, read_prepare, timeout_s)

    async def flush(self, *, timeout_s: float) -> None:
        """Make the guest ready for a snapshot."""
        await self._ask({"op": "flush"}, read_nothing, timeout_s)

    async def shutdown(self) -> None:
        """Ask the guest to reboot, which ends its VM; a connection that ends thereby is no error."""
        try:
            await self._ask({"op": "shutdown"}, read_nothing, ANSWER_S)
        except GuestGone:
            return

    async def start(self, request: ExecRequest, *, patience_s: float = PATIENCE_S) -> GuestProcess:
        """Send an exec; does not wait for the program to start.

        Args:
            request: The program, its limits, and the files that come with it. The host's clock
                keeps the limit of wall-clock time as well; see `GuestProcess`.
            patience_s: How long the agent may take to begin, and under a program without a limit to
                show that it lives; then the session is ended.

        Files that do not fit into one request are written first, one by one; of these,
        `GuestRequestFailed` is raised here.

        Raises:
            InvalidInput: Arguments and variables alone are too large, or not text.
            GuestError: The session has ended.
        """
        fields = request.fields()
        if (
            sum(len(file["data"]) for file in fields["files"]) > MAX_JSON // 2
            or len(encode_object(fields)) > MAX_JSON
        ):
            for file in request.files:
                await self.write_file(
                    file.path, file.data, mode=file.mode, user="root" if request.user == "root" else None
                )
            fields["files"] = []
        wall_ms = request.limits.wall_ms
        return GuestProcess(
            self._session,
            fields,
            stdin=request.stdin,
            limit_s=None if wall_ms is None else wall_ms / 1000,
            patience_s=patience_s,
        )
