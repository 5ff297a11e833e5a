"""One attempt of one job: from its row to a program in a sandbox and back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from emberbox.errors import (
    CompileFailed,
    EmberboxError,
    GuestRequestFailed,
    ImageError,
    InvalidInput,
    NotFound,
    PackagesFailed,
    VmmDied,
)
from emberbox.jobs.brought import packages_of
from emberbox.jobs.finish import Outcome, StoredLog
from emberbox.model import Limits, RunResult, RunStatus
from emberbox.store.database import now_us
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.blobs import BlobStore
    from emberbox.jobs.artifacts import Artifacts, Collected
    from emberbox.jobs.contents import Contents
    from emberbox.jobs.live import LiveJob
    from emberbox.jobs.log_writer import FinishedLog
    from emberbox.model import CompileResult, PackagesResult, RunMetrics
    from emberbox.sandbox import Engine, Process, Sandbox
    from emberbox.store.records import ContentRecord, JobRecord
    from emberbox.tasks import TaskKeeper

CANCEL_S = 15.0
"""How long a cancelled program may take to end; then its VM is ended."""
INLINE_BYTES = 65_536

_STATUS = {
    RunStatus.SUCCEEDED: ("succeeded", "exited"),
    RunStatus.TIMED_OUT: ("timed_out", "timeout"),
    RunStatus.CANCELLED: ("cancelled", "cancelled"),
    RunStatus.CPU_LIMIT: ("failed", "cpu_limit"),
    RunStatus.OUT_OF_MEMORY: ("failed", "out_of_memory"),
    RunStatus.OUTPUT_LIMIT: ("failed", "output_limit"),
    RunStatus.START_FAILED: ("failed", "start_failed"),
    RunStatus.VM_DIED: ("failed", "vm_died"),
}
_COMPILE_REASON = {"timed_out": "timeout"}


class Runner:
    """Runs attempts. It raises what is no fault of the program, such as a VM that does not start: the attempt may be repeated.

    Whoever runs one calls `let_go` afterwards in any case.

    Args:
        engine: Makes sandboxes.
        contents: Scripts and files.
        blobs: Takes large logs.
        artifacts: Takes what is kept.
        keeper: Ends sandboxes in the background.
    """

    def __init__(self, engine: Engine, contents: Contents, blobs: BlobStore, artifacts: Artifacts, keeper: TaskKeeper) -> None:
        self._engine = engine
        self._contents = contents
        self._blobs = blobs
        self._artifacts = artifacts
        self._keeper = keeper

    async def run(self, live: LiveJob) -> Outcome:
        """Run the attempt to its end and return what became of it, its log and artifacts stored already.

        Raises:
            EmberboxError: The attempt did not come to an end of its own, and may be repeated. Nothing of it is left.
        """
        work = asyncio.create_task(self._run(live), name=f"attempt-{live.job.id}")
        cancelled = asyncio.create_task(live.cancelled.wait(), name=f"cancel-{live.job.id}")
        try:
            await asyncio.wait({work, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # A program that runs is cancelled by the agent and still has a result; what comes before it is simply ended.
                await asyncio.wait({work}, timeout=CANCEL_S if live.started_at is not None else 0)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if work.cancelled() or (live.cancelled.is_set() and work.exception() is not None):
                return Outcome(
                    status="cancelled", reason="cancelled", message="cancelled by its caller", log=await self._log(live)
                )
            return work.result()
        finally:
            cancelled.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})

    async def _run(self, live: LiveJob) -> Outcome:
        job, spec = live.job, live.job.spec
        begun = time.perf_counter()
        try:
            packages = await packages_of(self._contents, job, self._engine.runtimes.get(job.runtime))
            sandbox = await self._engine.open_sandbox(
                job.runtime,
                memory_mib=spec.memory_mib,
                vcpus=spec.vcpus,
                disk_mib=spec.disk_mib,
                limits=_limits(job),
                cold=spec.cold,
                scope=job.key_id,
                packages=packages,
            )
        except PackagesFailed as error:
            return await self._without_packages(live, error)
        except (InvalidInput, ImageError) as error:
            return _refused("refused", error)
        live.sandbox = sandbox
        try:
            process = await self._stage(sandbox, job)
        except CompileFailed as error:
            return await self._not_compiled(live, error, begun)
        except (GuestRequestFailed, InvalidInput, NotFound) as error:
            return _refused("input_failed", error)
        result, started_at = await self._follow(live, sandbox, process)
        result = replace(result, packages=sandbox.packages)
        ended_at = now_us()
        collected = await self._collect(sandbox, job, result)
        try:
            return await self._outcome(live, result, collected, started_at, ended_at, begun)
        except BaseException:
            await shielded(self._artifacts.discard(collected))
            raise

    def let_go(self, live: LiveJob) -> None:
        """End the attempt's sandbox in the background; for after its end was written, which it would slow down."""
        sandbox, live.sandbox = live.sandbox, None
        if sandbox is not None:
            self._keeper.start(sandbox.close(), f"close-{sandbox.id}")

    # -- in --------------------------------------------------------------------------------------------------

    async def _stage(self, sandbox: Sandbox, job: JobRecord) -> Process:
        """Put the job's files into the sandbox and return its program, not yet started."""
        if job.files_sha is not None:
            await sandbox.put_archive(self._contents.stream(await self._contents.get(job.files_sha)))
        content = await self._contents.get(job.content_sha)
        spec = job.spec
        stdin = spec.interactive or job.stdin_sha is not None
        if content.kind == "bundle":
            await sandbox.put_archive(self._contents.stream(content))
        elif content.size > INLINE_BYTES:
            await sandbox.write_file(job.entry, self._contents.stream(content), mode=0o755)
        else:
            code = content.data if content.data is not None else await self._contents.read(content)
            return await sandbox.start_script(code, spec.args, name=job.entry, stdin=stdin, env=spec.env)
        return await sandbox.start_file(job.entry, spec.args, stdin=stdin, env=spec.env)

    async def _stdin(self, content: ContentRecord | None) -> AsyncIterator[bytes]:
        if content is not None:
            async for piece in self._contents.stream(content):
                yield piece

    async def _follow(self, live: LiveJob, sandbox: Sandbox, process: Process) -> tuple[RunResult, int]:
        """Run the program, with its output going to the log."""
        content = None if live.job.stdin_sha is None else await self._contents.get(live.job.stdin_sha)
        started_at = now_us()
        helpers: list[asyncio.Task[None]] = []
        try:
            async with process:
                live.begin(process, started_at)
                helpers.append(asyncio.create_task(_cancel_when_told(live, process), name=f"watch-{live.job.id}"))
                if content is not None:
                    helpers.append(asyncio.create_task(self._feed(process, content), name=f"stdin-{live.job.id}"))
                async for piece in process.output():
                    live.log.append(piece.stream, piece.data)
                result = await process.result()
                if result.status is RunStatus.VM_DIED and process.pid is None:
                    raise VmmDied("the VM ended before the program began", detail=result.message)
                return result, started_at
        finally:
            live.end()
            for helper in helpers:
                helper.cancel()
            if helpers:
                await asyncio.wait(helpers)

    async def _feed(self, process: Process, content: ContentRecord) -> None:
        # A program that ends without reading all of its input is no error.
        with contextlib.suppress(EmberboxError):
            async for piece in self._contents.stream(content):
                await process.write_stdin(piece)
            await process.close_stdin()

    # -- out -------------------------------------------------------------------------------------------------

    async def _collect(self, sandbox: Sandbox, job: JobRecord, result: RunResult) -> Collected:
        from emberbox.jobs.artifacts import Collected

        wanted = job.spec.artifacts or result.left_files
        if not wanted or result.status in (RunStatus.VM_DIED, RunStatus.CANCELLED) or sandbox.closed:
            return Collected(records=[], notes=[])
        return await self._artifacts.collect(sandbox, job, left_files=result.left_files)

    async def _outcome(
        self, live: LiveJob, result: RunResult, collected: Collected, started_at: int, ended_at: int, begun: float
    ) -> Outcome:
        status, reason = _STATUS.get(result.status) or ("failed", "signalled" if result.signal is not None else "exited")
        notes = "; ".join(filter(None, [result.message, *collected.notes]))
        live.log.finish()
        live.log.check()
        return Outcome(
            status=status,
            reason=reason,
            message=notes or None,
            exit_code=result.exit_code,
            signal=result.signal,
            started_at=started_at,
            ended_at=ended_at,
            metrics=_metrics(live.job, result.metrics, result.compile, begun, result.packages),
            stdout_bytes=live.log.written["stdout"],
            stderr_bytes=live.log.written["stderr"],
            log=await self._log(live),
            artifacts=tuple(collected.records),
            compile=None if result.compile is None else result.compile.to_dict(),
        )

    async def _not_compiled(self, live: LiveJob, error: CompileFailed, begun: float) -> Outcome:
        """Return the end of a job without a program; what its compiler said becomes its log, on standard error."""
        compiled: CompileResult = error.result
        live.log.append("stderr", compiled.stdout_data + compiled.stderr_data)
        live.log.finish()
        live.log.check()
        ended = "signalled" if compiled.exit_code is None else "exited"
        reason = ended if compiled.reason == "failed" else _COMPILE_REASON.get(compiled.reason, compiled.reason)
        return Outcome(
            # A VM's death is nobody's verdict on the source.
            status="failed" if compiled.reason == "vm_died" else "compile_failed",
            reason=reason,
            message=error.message,
            metrics=_metrics(live.job, error.metrics, compiled, begun),
            stderr_bytes=live.log.written["stderr"],
            log=await self._log(live),
            compile=compiled.to_dict(),
        )

    async def _without_packages(self, live: LiveJob, error: PackagesFailed) -> Outcome:
        """Return the end of a job without its packages; what pip or npm said becomes its log, on standard error."""
        live.log.append("stderr", error.result.output_data)
        live.log.finish()
        live.log.check()
        return Outcome(
            status="failed",
            reason="packages_failed",
            message=error.message,
            stderr_bytes=live.log.written["stderr"],
            log=await self._log(live),
        )

    async def discard(self, outcome: Outcome) -> None:
        """Delete what was stored of an attempt that is repeated. Never raises: what stays is found by the sweeper."""
        from emberbox.jobs.artifacts import Collected

        await self._artifacts.discard(Collected(records=list(outcome.artifacts), notes=[]))
        if outcome.log.key is not None:
            with contextlib.suppress(EmberboxError):
                await self._blobs.delete([outcome.log.key])

    async def _log(self, live: LiveJob) -> StoredLog:
        return await store_log(self._blobs, live.job, live.log.finish())


async def store_log(blobs: BlobStore, job: JobRecord, log: FinishedLog) -> StoredLog:
    """Put a log where it stays. Raises `NoSpace` or `BlobError`."""
    if log.data is not None or log.path is None:
        return StoredLog(size=log.size, data=log.data)
    key = f"logs/{job.id}/{job.attempt}"
    await blobs.put(key, log.path)
    return StoredLog(size=log.size, data=None, key=key, stdout=log.stdout, stderr=log.stderr)


async def _cancel_when_told(live: LiveJob, process: Process) -> None:
    await live.cancelled.wait()
    with contextlib.suppress(EmberboxError):
        await process.cancel()


def _limits(job: JobRecord) -> Limits:
    spec = job.spec
    limits = {"timeout_s": spec.timeout_s, "cpu_s": spec.cpu_s, "keep_bytes": None, "output_bytes": spec.output_bytes}
    return Limits(**limits) if spec.pids is None else Limits(**limits, pids=spec.pids)  # type: ignore[arg-type]


def _refused(reason: str, error: EmberboxError) -> Outcome:
    return Outcome(status="failed", reason=reason, message=error.message)


def _metrics(
    job: JobRecord,
    metrics: RunMetrics,
    compiled: CompileResult | None,
    begun: float,
    packages: PackagesResult | None = None,
) -> dict[str, Any]:
    measured = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(metrics).items()}
    if compiled is not None:
        measured |= {"compile_ms": round(compiled.wall_ms, 3), "compile_cpu_ms": round(compiled.cpu_ms, 3)}
    if packages is not None:
        measured["packages_ms"] = round(packages.wall_ms, 3)
    waited = ((job.claimed_at or job.created_at) - job.created_at) / 1000
    return {**measured, "wait_ms": round(waited, 3), "total_ms": round((time.perf_counter() - begun) * 1000, 3)}
