"""A program that runs in a sandbox, followed while it runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from emberbox.errors import GuestError, GuestRequestFailed, GuestTimeout, SandboxClosed, VmmError
from emberbox.model import RunMetrics, RunResult, RunStatus
from emberbox.sandbox.outcome import result_of
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Coroutine
    from types import TracebackType

    from emberbox.guest import ExecOutcome, ExecRequest, GuestProcess
    from emberbox.model import CompileResult, Limits, Output
    from emberbox.sandbox.sandbox import Sandbox

GRACE_S = 10.0
"""How long after a run's own limit the agent may take to say so; then its VM is ended."""
CHECK_S = 15.0
"""Interval at which the agent must answer under a run without a limit."""


class Process:
    """A program in a sandbox. Use it as `async with sandbox.start([...]) as process`.

    Entering starts the program; leaving ends it if it still runs. Iterate `output` for its output as it arrives; what is not read
    makes the program wait once 256 KiB of a stream are under way.
    """

    def __init__(
        self,
        sandbox: Sandbox,
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
        self._result: RunResult | None = None

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await shielded(self.end())

    async def begin(self) -> None:
        """Start the program. Raises `SandboxClosed` when the sandbox has ended."""
        self._guest = await self._sandbox.guest.start(self._request)

    async def end(self) -> None:
        """Cancel the program if it still runs, and wait for its end within a bound. Repeating is harmless."""
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
        """Yield output as it arrives until the program has ended or its VM is gone; `result` then says which."""
        try:
            async for piece in self._started.output():
                yield piece
        except (GuestError, VmmError) as error:
            await self._died(error)

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
        """End the run; its result says `cancelled`."""
        await self._started.cancel()

    async def result(self) -> RunResult:
        """Wait for the program's end; output that was not iterated is dropped. What befalls program or VM is a result."""
        if self._result is None:
            try:
                async for _ in self._started.output():
                    pass
                outcome = await self._bounded(self._started.result(timeout_s=self._patience))
                await self._finish(outcome)
            except (GuestError, VmmError) as error:
                await self._died(error)
        return self._known

    async def collect(self, stdin: bytes | AsyncIterable[bytes] | None) -> RunResult:
        """Feed `stdin`, wait for the end, and return the result with both streams, as far as the limits keep them."""
        keep = self._limits.keep_bytes
        work = self._started.collect(stdin=stdin, keep_stdout=keep, keep_stderr=keep, timeout_s=self._patience)
        try:
            await self._finish(await self._bounded(work))
        except (GuestError, VmmError) as error:
            await self._died(error)
        return self._known

    @property
    def _known(self) -> RunResult:
        if self._result is None:
            raise SandboxClosed("the run has no result")
        return self._result

    @property
    def _patience(self) -> float | None:
        return None if self._limits.timeout_s is None else self._limits.timeout_s + GRACE_S

    async def _bounded(self, work: Coroutine[Any, Any, ExecOutcome]) -> ExecOutcome:
        """Wait for `work`; a run without a limit of its own ends when the agent stops answering."""
        task = asyncio.create_task(work, name=f"run-{self._sandbox.id}")
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=CHECK_S)
                if done:
                    return task.result()
                if self._limits.timeout_s is None:
                    await self._sandbox.guest.ping(timeout_s=CHECK_S)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _finish(self, outcome: ExecOutcome) -> None:
        await self._sandbox.confirm()
        metrics = replace(
            self._metrics, total_ms=(time.perf_counter() - self._begun) * 1000 + self._metrics.queue_ms + self._metrics.boot_ms
        )
        self._result = replace(result_of(outcome, self._limits, metrics), compile=self.compiled)

    async def _died(self, error: GuestError | VmmError) -> None:
        """Turn the loss of the agent into a result, and end what is left of the VM."""
        if isinstance(error, GuestRequestFailed):
            raise error
        timed_out = isinstance(error, GuestTimeout) and self._limits.timeout_s is not None
        message = (
            f"did not end {GRACE_S:g} s after its limit of {self._limits.timeout_s:g} s; its VM was ended"
            if timed_out
            else await self._sandbox.obituary(error)
        )
        await self._sandbox.kill()
        self._result = RunResult(
            status=RunStatus.TIMED_OUT if timed_out else RunStatus.VM_DIED,
            message=message,
            metrics=replace(self._metrics, total_ms=(time.perf_counter() - self._begun) * 1000),
            compile=self.compiled,
        )
