"""A program that runs in a sandbox, followed while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from emberbox.errors import (
    GuestError,
    GuestRequestFailed,
    GuestTimeout,
    SandboxClosed,
    VmmError,
)
from emberbox.guest.process import GRACE_S
from emberbox.model import CompileResult, Limits, Output, RunMetrics, RunResult, RunStatus, elapsed_ms
from emberbox.sandbox.outcome import result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable

    from emberbox.guest import ExecOutcome, ExecRequest, GuestProcess
    from emberbox.sandbox.vm import SandboxVm


class Process:
    """A program in a sandbox. Use it as `async with sandbox.start([...]) as process`.

    Entering starts the program; leaving ends it if it still runs. Iterate `output` for its output
    as it arrives; what is not read makes the program wait once 256 KiB of a stream are under way.
    """

    def __init__(
        self,
        sandbox: SandboxVm,
        request: ExecRequest,
        limits: Limits,
        metrics: RunMetrics,
        begun: float,
        compiled: CompileResult | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._request = request
        self._limits = limits
        self._metrics = metrics
        self._begun = begun
        self.compiled = compiled
        """How the program was compiled; None where nothing was."""
        self._guest: GuestProcess | None = None
        self._cancelled = False
        self._result: RunResult | None = None

    async def __aenter__(self) -> Self:
        """Start the program. Raises `SandboxClosed` when the sandbox has ended.

        From here on the host's own clock runs, as `GuestProcess` says: an agent that is late ends
        the VM, whether anybody reads output or waits for the result or not.
        """
        self._guest = await self._sandbox.guest.start(self._request, patience_s=self._sandbox.patience_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the program if it still runs; the agent must end it within seconds."""
        if self._result is None and self._guest is not None and not self._guest.ended:
            self._guest.abandon()

    @property
    def pid(self) -> int | None:
        """The main process's id in the guest; None until it is known."""
        return self._started.pid

    @property
    def by_waiting_interpreter(self) -> bool:
        """Whether an interpreter that waited in the template took the run."""
        return self._started.waiting

    @property
    def _started(self) -> GuestProcess:
        if self._guest is None:
            raise SandboxClosed("the process was not started; use it with 'async with'")
        return self._guest

    async def output(self) -> AsyncIterator[Output]:
        """Yield output as it arrives until the program has ended or its VM is gone; `result` says which."""
        try:
            async for piece in self._started.output():
                yield piece
        except (GuestError, VmmError) as error:
            self._result = await self._died(error)

    async def write_stdin(self, data: bytes) -> None:
        """Send `data` to the program; waits while it does not read."""
        await self._started.write_stdin(data)

    async def close_stdin(self) -> None:
        """Let the program see the end of its input."""
        await self._started.close_stdin()

    async def signal(self, number: int) -> None:
        """Send a signal to the main process."""
        await self._started.signal(number)

    async def kill(self) -> None:
        """Kill the program and all that it started."""
        await self._started.kill()

    async def cancel(self) -> None:
        """End the run; its result says `cancelled`.

        It does so also where the agent does not answer and the VM has to be ended.
        """
        self._cancelled = True
        await self._started.cancel()

    async def result(self) -> RunResult:
        """Wait for the program's end; output that was not iterated is dropped.

        What befalls program or VM is a result.
        """
        if self._result is None:
            self._result = await self._settled(self._drained())
        return self._result

    async def _drained(self) -> ExecOutcome:
        async for _ in self._started.output():
            pass
        return await self._started.result(timeout_s=None)

    async def collect(self, stdin: bytes | AsyncIterable[bytes] | None) -> RunResult:
        """Feed `stdin`, wait for the end, and return the result with as much of both streams as is kept."""
        keep = self._limits.keep_bytes
        self._result = await self._settled(
            self._started.collect(stdin=stdin, keep_stdout=keep, keep_stderr=keep, timeout_s=None)
        )
        return self._result

    async def _settled(self, ending: Awaitable[ExecOutcome]) -> RunResult:
        try:
            outcome = await ending
            await self._sandbox.confirm()
        except (GuestError, VmmError) as error:
            return await self._died(error)
        return replace(result_of(outcome, self._limits, self._measured()), compile=self.compiled)

    async def _died(self, error: GuestError | VmmError) -> RunResult:
        """Turn the loss of the agent into a result, and end what is left of the VM."""
        if isinstance(error, GuestRequestFailed):
            raise error
        status, message = await self._loss(error)
        await self._sandbox.kill()
        return RunResult(status=status, message=message, metrics=self._measured(), compile=self.compiled)

    def _measured(self) -> RunMetrics:
        known = self._metrics
        total_ms = elapsed_ms(self._begun) + known.queue_ms + known.boot_ms
        return replace(known, total_ms=total_ms)

    async def _loss(self, error: GuestError | VmmError) -> tuple[RunStatus, str]:
        late = isinstance(error, GuestTimeout)
        if late and self._cancelled:
            return RunStatus.CANCELLED, "cancelled; its agent did not answer, so its VM was ended"
        # Whatever else the agent was late with tells nothing of the program: that is the VM's failure.
        if late and self._started.overdue:
            limit = f"its limit of {self._limits.timeout_s:g} s"
            return RunStatus.TIMED_OUT, f"did not end {GRACE_S:g} s after {limit}; its VM was ended"
        return RunStatus.VM_DIED, await self._sandbox.death_reason(error)
