"""One attempt of one job: from its row to a program in a sandbox and back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from emberbox.errors import (
    CompileFailed,
    EmberboxError,
    GuestRequestFailed,
    ImageError,
    InvalidInput,
    NotFound,
    PackagesFailed,
    SecretsUnavailable,
    VmmDied,
    VmmTimeout,
)
from emberbox.images import SilentProgress
from emberbox.model import RunResult, RunStatus
from emberbox.sandbox.outputs import reading_bound_s
from emberbox.sandbox.packages.requests import REQUEST_BYTES, PackageRequest, tool_of
from emberbox.service.jobs.running import bounds, outcomes
from emberbox.service.jobs.running.artifacts import Artifacts, Collected
from emberbox.service.jobs.sealed import opened_options
from emberbox.store.database import now_us
from emberbox.tasks import TaskKeeper, undone_on_failure

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.blobs import BlobStore
    from emberbox.runtimes import Runtime
    from emberbox.sandbox import Engine, Process, Sandbox
    from emberbox.service.jobs.logs.writer import LogWriter
    from emberbox.service.jobs.running.endings import Outcome
    from emberbox.service.jobs.running.held import HeldEnds
    from emberbox.service.jobs.running.live import LiveJob
    from emberbox.service.secrets.vault import Vault
    from emberbox.service.uploads.contents import Contents
    from emberbox.store.records import ContentRecord, JobRecord

CANCEL_S = 3.0
"""How long a cancelled program may take to end; then its VM is ended."""
INLINE_BYTES = 65_536


class Runner:
    """Runs attempts.

    It raises what is no fault of the program, such as a VM that does not start: the attempt may be repeated.
    Whoever runs one calls `release` afterwards in any case.

    Args:
        engine: Makes sandboxes.
        contents: Scripts and files.
        blobs: Takes large logs.
        artifacts: Takes what is kept.
        held: Keeps a large log that cannot be stored at once.
        vault: Opens jobs' secrets.
        keeper: Ends sandboxes in the background.
    """

    def __init__(
        self,
        engine: Engine,
        contents: Contents,
        blobs: BlobStore,
        artifacts: Artifacts,
        held: HeldEnds,
        vault: Vault,
        keeper: TaskKeeper,
    ) -> None:
        self._engine = engine
        self._contents = contents
        self._blobs = blobs
        self._artifacts = artifacts
        self._held = held
        self._vault = vault
        self._keeper = keeper

    async def run(self, live: LiveJob) -> Outcome:
        """Run the attempt to its end and return what became of it, its log and artifacts stored already.

        Raises:
            EmberboxError: The attempt did not come to an end of its own, and may be repeated.
                Nothing of it is left.
        """
        watchers = TaskKeeper()
        try:
            async with asyncio.timeout(None) as bound:
                watchers.start(_cut_off(live, bound), f"cancel-{live.job.id}")
                return await self._run(live)
        except Exception:
            if not live.cancelled.is_set():
                raise
            return await outcomes.cut_off(self._blobs.put, live)
        finally:
            await watchers.cancel()

    async def _run(self, live: LiveJob) -> Outcome:
        job, put = live.job, partial(self._put, live)
        try:
            runtime = self._engine.runtimes.get(job.runtime)
            packages = await self._packages(job, runtime)
            # All output is taken as it comes, and bounded by the job's own limit.
            limits = replace(runtime.limits.of_runs(), keep_bytes=None)
            options = opened_options(self._vault, job)
            sandbox = await self._engine.open_sandbox(
                job.runtime,
                options,
                limits=limits,
                scope=job.team_id,
                packages=packages,
                progress=_Told(live.log),
            )
        except PackagesFailed as error:
            return await outcomes.without_packages(put, live, error)
        except (InvalidInput, ImageError, SecretsUnavailable) as error:
            return outcomes.refused("refused", error)
        live.sandbox = sandbox
        try:
            async with bounds.bounded(sandbox, bounds.stage_s(sandbox), "did not have the job's files"):
                process = await self._stage(sandbox, job)
        except CompileFailed as error:
            if error.result.reason == "vm_died":
                await _spare_the_program(sandbox, error.message)
            return await outcomes.not_compiled(put, live, error)
        except (GuestRequestFailed, InvalidInput, NotFound) as error:
            return outcomes.refused("input_failed", error)
        result = replace(await self._follow(live, sandbox, process), packages=sandbox.packages)
        ended_at = now_us()
        collected = Collected(records=[], notes=[])
        if result.status not in (RunStatus.VM_DIED, RunStatus.CANCELLED) and not sandbox.closed:
            await live.room.look()
            collected = await self._artifacts.collect(
                sandbox,
                job,
                live.room,
                left_files=result.left_files,
                within_s=reading_bound_s(sandbox.limits),
            )
        async with undone_on_failure(partial(self._artifacts.discard, collected)):
            return await outcomes.ended(put, live, result, collected, ended_at)

    def release(self, live: LiveJob) -> None:
        """Free what the attempt held, once its end is written.

        Its sandbox is ended in the background: that would slow the end down.
        """
        live.room.end()
        sandbox, live.sandbox = live.sandbox, None
        if sandbox is not None:
            self._keeper.start(sandbox.close(), f"close-{sandbox.id}")

    # -- in ---------------------------------------------------------------------------------------

    async def _packages(self, job: JobRecord, runtime: Runtime) -> PackageRequest | None:
        """Return the packages that a job lists at the root of its files, for its runtime's tool.

        None where it asks for none, or its runtime installs none. Files that came with the job win
        over those of its script. Raises `InvalidInput` for a list that is too large.
        """
        if runtime.packages is None:
            return None
        tool, found = tool_of(runtime.packages.tool), {}
        for digest in filter(None, (job.content_sha, job.files_sha)):
            content = await self._contents.get(digest)
            listed = [entry for entry in content.entries if entry["path"] in tool.files]
            for entry in listed if content.kind == "bundle" else ():
                if entry["size"] > REQUEST_BYTES:
                    raise InvalidInput(f"{entry['path']} is larger than {REQUEST_BYTES // 1024**2} MiB")
                pieces = self._contents.stream_file(content, entry["path"])
                found[entry["path"]] = b"".join([piece async for piece in pieces])
        if tool.files[0] not in found:
            return None
        request = PackageRequest(tool=tool.name, files=found)
        return None if request.empty else request

    async def _stage(self, sandbox: Sandbox, job: JobRecord) -> Process:
        """Put the job's files into the sandbox and return its program, not yet started."""
        if job.files_sha is not None:
            await sandbox.put_archive(self._contents.stream(await self._contents.get(job.files_sha)))
        content = await self._contents.get(job.content_sha)
        stdin = job.spec.interactive or job.stdin_sha is not None
        if content.kind == "bundle":
            await sandbox.put_archive(self._contents.stream(content))
        elif content.size > INLINE_BYTES:
            await sandbox.write_file(job.entry, self._contents.stream(content), mode=0o755)
        else:
            code = await self._contents.read(content)
            return await sandbox.start_script(code, name=job.entry, stdin=stdin)
        return await sandbox.start_file(job.entry, stdin=stdin)

    async def _follow(self, live: LiveJob, sandbox: Sandbox, process: Process) -> RunResult:
        """Run the program, with its output going to the log."""
        try:
            async with bounds.bounded(sandbox, bounds.follow_s(sandbox), "did not end the program"):
                return await self._followed(live, sandbox, process)
        except VmmTimeout as error:
            return RunResult(status=RunStatus.TIMED_OUT, message=error.message)

    async def _followed(self, live: LiveJob, sandbox: Sandbox, process: Process) -> RunResult:
        content = None if live.job.stdin_sha is None else await self._contents.get(live.job.stdin_sha)
        started_at = now_us()
        feeding = TaskKeeper()
        try:
            async with process:
                live.begin(process, started_at)
                if content is not None:
                    feeding.start(self._feed(process, content), f"stdin-{live.job.id}")
                async for piece in process.output():
                    live.log.append(piece.stream, piece.data)
                result = await process.result()
                if result.status is RunStatus.VM_DIED:
                    if process.pid is None:
                        raise VmmDied("the VM ended before the program began", detail=result.message)
                    await _spare_the_program(sandbox, result.message)
                return result
        finally:
            live.end()
            await feeding.cancel()

    async def _feed(self, process: Process, content: ContentRecord) -> None:
        # A program that ends without reading all of its input is no error.
        with contextlib.suppress(EmberboxError):
            async for piece in self._contents.stream(content):
                await process.write_stdin(piece)
            await process.close_stdin()

    # -- out --------------------------------------------------------------------------------------

    async def _put(self, live: LiveJob, key: str, file: Path) -> None:
        """Store a large log. While that cannot be, the file is kept, and the sandbox is not."""
        await self._held.insist(
            live.job, lambda: self._blobs.put(key, file), waiting=partial(self.release, live)
        )

    async def discard(self, outcome: Outcome) -> None:
        """Delete what was stored of an attempt that is repeated.

        Never raises: what stays is found by the sweeper.
        """
        await self._artifacts.discard(Collected(records=list(outcome.artifacts), notes=[]))
        if outcome.log.key is not None:
            with contextlib.suppress(EmberboxError):
                await self._blobs.delete([outcome.log.key])


async def _spare_the_program(sandbox: Sandbox, message: str | None) -> None:
    """Raise `VmmDied` where somebody on the host killed a VM: its program did not fail by itself."""
    error = VmmDied("the VM was killed by the host for want of memory, or by an operator", detail=message)
    if await sandbox.killed_from_outside(error):
        raise error


class _Told(SilentProgress):
    """Tells those who follow a job what is made ready ahead of its program."""

    def __init__(self, log: LogWriter) -> None:
        self._log = log

    def step(self, name: str, fraction: float | None) -> None:
        """Tell it."""
        self._log.tell_progress(name)


async def _cut_off(live: LiveJob, bound: asyncio.Timeout) -> None:
    """End an attempt that is cancelled.

    A program that runs is cancelled by the agent and still has a result; what comes before it is
    simply ended.
    """
    await live.cancelled.wait()
    patience_s = CANCEL_S if live.started_at is not None else 0.0
    bound.reschedule(asyncio.get_running_loop().time() + patience_s)
    if live.process is not None:
        with contextlib.suppress(EmberboxError):
            await live.process.cancel()
