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
)
from emberbox.model import RunResult, RunStatus
from emberbox.sandbox.packages.requests import REQUEST_BYTES, PackageRequest, tool_of
from emberbox.service.jobs.running import outcomes
from emberbox.service.jobs.running.artifacts import Artifacts, Collected
from emberbox.service.jobs.sealed import opened_options
from emberbox.store.database import now_us
from emberbox.tasks import TaskKeeper, undone_on_failure

if TYPE_CHECKING:
    from emberbox.blobs import BlobStore
    from emberbox.runtimes import Runtime
    from emberbox.sandbox import Engine, Process, Sandbox
    from emberbox.service.jobs.running.endings import Outcome
    from emberbox.service.jobs.running.live import LiveJob
    from emberbox.service.secrets.vault import Vault
    from emberbox.service.uploads.contents import Contents
    from emberbox.store.records import ContentRecord, JobRecord

CANCEL_S = 15.0
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
        vault: Opens jobs' secrets.
        keeper: Ends sandboxes in the background.
    """

    def __init__(
        self,
        engine: Engine,
        contents: Contents,
        blobs: BlobStore,
        artifacts: Artifacts,
        vault: Vault,
        keeper: TaskKeeper,
    ) -> None:
        self._engine = engine
        self._contents = contents
        self._blobs = blobs
        self._artifacts = artifacts
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
            return await outcomes.cut_off(self._blobs, live)
        finally:
            await watchers.cancel()

    async def _run(self, live: LiveJob) -> Outcome:
        job = live.job
        try:
            runtime = self._engine.runtimes.get(job.runtime)
            packages = await self._packages(job, runtime)
            # All output is taken as it comes, and bounded by the job's own limit.
            limits = replace(runtime.limits.of_runs(), keep_bytes=None)
            options = opened_options(self._vault, job)
            sandbox = await self._engine.open_sandbox(
                job.runtime, options, limits=limits, scope=job.key_id, packages=packages
            )
        except PackagesFailed as error:
            return await outcomes.without_packages(self._blobs, live, error)
        except (InvalidInput, ImageError, SecretsUnavailable) as error:
            return outcomes.refused("refused", error)
        live.sandbox = sandbox
        try:
            process = await self._stage(sandbox, job)
        except CompileFailed as error:
            return await outcomes.not_compiled(self._blobs, live, error)
        except (GuestRequestFailed, InvalidInput, NotFound) as error:
            return outcomes.refused("input_failed", error)
        result = replace(await self._follow(live, process), packages=sandbox.packages)
        ended_at = now_us()
        collected = Collected(records=[], notes=[])
        if result.status not in (RunStatus.VM_DIED, RunStatus.CANCELLED) and not sandbox.closed:
            collected = await self._artifacts.collect(sandbox, job, left_files=result.left_files)
        async with undone_on_failure(partial(self._artifacts.discard, collected)):
            return await outcomes.ended(self._blobs, live, result, collected, ended_at)

    def release(self, live: LiveJob) -> None:
        """End the attempt's sandbox in the background, once its end is written: it would slow that down."""
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

    async def _follow(self, live: LiveJob, process: Process) -> RunResult:
        """Run the program, with its output going to the log."""
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
                if result.status is RunStatus.VM_DIED and process.pid is None:
                    raise VmmDied("the VM ended before the program began", detail=result.message)
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

    async def discard(self, outcome: Outcome) -> None:
        """Delete what was stored of an attempt that is repeated.

        Never raises: what stays is found by the sweeper.
        """
        await self._artifacts.discard(Collected(records=list(outcome.artifacts), notes=[]))
        if outcome.log.key is not None:
            with contextlib.suppress(EmberboxError):
                await self._blobs.delete([outcome.log.key])


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
