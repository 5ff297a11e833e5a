"""The compile stage: from a script to the program beside it, by the compiler or from the cache."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from emberbox.errors import CompileFailed, GuestError, GuestRequestFailed, VmmError
from emberbox.model import MIB, CompileResult, Limits, RunResult, RunStatus, elapsed_ms
from emberbox.sandbox.compiling.cache import ENTRY_BYTES, ENTRY_FILES, CompileCache, StoredProgram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.guest import ExecRequest, InlineFile
    from emberbox.runtimes import CompileRecipe, Runtime
    from emberbox.sandbox.process import Process
    from emberbox.sandbox.vm import SandboxVm

KEEP_BYTES = 65_536
"""What is kept of each of a compiler's streams."""
OUTPUT_BYTES = 4 * MIB
"""A compiler that writes more is killed."""
TRANSFER_S = 30.0
"""How long fetching a program for the cache, or putting it back, may take; then it goes without."""

_WORK = PurePosixPath("/work")
_REASONS = {RunStatus.SUCCEEDED: "compiled", RunStatus.START_FAILED: "failed"}
"""Reasons that are called otherwise than the status of the compiler's run."""
_NOT_COMPILED = {"vm_died": RunStatus.VM_DIED, "cancelled": RunStatus.CANCELLED}
"""What is nobody's verdict on the source."""


def compile_limits(
    recipe: CompileRecipe, timeout_s: float | None = None, limits: Limits | None = None
) -> Limits:
    """Return the bounds of a compiler: `limits`, else the runtime's; `timeout_s` wins over both."""
    usual = Limits(
        timeout_s=recipe.timeout_s, pids=recipe.pids, keep_bytes=KEEP_BYTES, output_bytes=OUTPUT_BYTES
    )
    chosen = limits or usual
    return chosen if timeout_s is None else replace(chosen, timeout_s=timeout_s)


class CompileStage:
    """Compiles one script in one sandbox.

    Args:
        sandbox: Where.
        runtime: What compiles.
        cache: What its scope has compiled before; None goes without.
        output: Path of the program.
        again: Whether one was made there before; it is removed first, so that it is never taken for
            the new one.
    """

    def __init__(
        self,
        sandbox: SandboxVm,
        runtime: Runtime,
        cache: CompileCache | None,
        output: str,
        *,
        again: bool = False,
    ) -> None:
        self._sandbox = sandbox
        self._runtime = runtime
        self._cache = cache
        self._output = output
        self._again = again
        self.undelivered: tuple[InlineFile, ...] = ()
        """Files of the request that `compile` did not bring into the sandbox: the run is to bring them."""

    async def compile(self, process: Process, request: ExecRequest) -> CompileResult:
        """Have the program made by `process`, the compiler.

        It was not started yet, and will be with `request`. What befalls compiler or VM is a result.
        """
        digest = self._sandbox.sources.digest()
        self._sandbox.sources.lose()
        try:
            if self._again:
                await self._remove()
            if self._cache is None or digest is None:
                return (await self._made(process))[0]
            key = self._cache.key(
                self._runtime.fingerprint, request.argv, sorted(request.env.items()), digest
            )
            if (found := await self._from_cache(self._cache, key, request.files)) is not None:
                return found
            result, kind = await self._made(process)
            if result.ok and kind in ("file", "directory"):
                await self._keep(self._cache, key, kind, result)
        except (GuestError, VmmError) as error:
            if isinstance(error, GuestRequestFailed):
                raise
            message = await self._sandbox.death_reason(error)
            await self._sandbox.kill()
            return CompileResult(ok=False, reason="vm_died", message=f"compile failed: {message}")
        return result

    # -- by the compiler --------------------------------------------------------------------------

    async def _made(self, process: Process) -> tuple[CompileResult, str | None]:
        """Return the compiler's result, and what kind of file the program is."""
        async with process:
            result = compile_result(await process.collect(None))
        kind = await self._kind() if result.ok else None
        if result.ok and kind is None:
            problem = (
                f"compile failed: the compiler ended with exit code 0 but left no program at {self._output}"
            )
            return replace(result, ok=False, reason="failed", message=problem), None
        return result, kind

    async def _kind(self) -> str | None:
        """Return what lies in the program's place: `file`, `directory` or `link`; None for nothing of use."""
        try:
            kind = (await self._sandbox.stat_file(self._output)).type
        except GuestRequestFailed:
            return None
        return None if kind == "other" else kind

    async def _keep(self, cache: CompileCache, key: str, kind: str, result: CompileResult) -> None:
        tar = self._sandbox.guest.tar_out(self._output, max_bytes=ENTRY_BYTES, max_entries=ENTRY_FILES)
        try:
            async with asyncio.timeout(TRANSFER_S), aclosing(tar) as pieces:
                await cache.store(key, _about(kind, result), pieces)
        except (GuestRequestFailed, TimeoutError):
            return

    async def _remove(self) -> None:
        await self._sandbox.guest.delete(self._output, recursive=True, missing_ok=True)

    # -- from the cache ---------------------------------------------------------------------------

    async def _from_cache(
        self, cache: CompileCache, key: str, files: tuple[InlineFile, ...]
    ) -> CompileResult | None:
        begun = time.perf_counter()
        found = await cache.find(key)
        if found is None:
            return None
        try:
            result = _remembered(found.about)
            if not any(self._touches(file.path) for file in files):
                self.undelivered, files = files, ()
            for file in files:
                await self._sandbox.guest.write_file(file.path, file.data, mode=file.mode)
            async with asyncio.timeout(TRANSFER_S):
                await self._put_back(found)
        except (GuestRequestFailed, TimeoutError, ValueError, TypeError, KeyError):
            # What a guest left under its own key is of no use: it is made anew.
            self.undelivered = ()
            await asyncio.to_thread(found.drop)
            await self._remove()
            return None
        finally:
            found.close()
        return replace(result, wall_ms=elapsed_ms(begun))

    async def _put_back(self, found: StoredProgram) -> None:
        folder = found.about["kind"] == "directory"
        target = self._output if folder else str(PurePosixPath(self._output).parent)
        async with aclosing(found.pieces()) as pieces:
            await self._sandbox.guest.tar_in(target, pieces, max_bytes=ENTRY_BYTES, max_entries=ENTRY_FILES)

    def _touches(self, path: str) -> bool:
        """Tell whether a file that is written after the program would change it.

        Then it must come first, as it did when the program was made.
        """
        file, program = _WORK / path, _WORK / self._output
        return program in (file, *file.parents) or file in program.parents


def not_compiled(error: CompileFailed) -> RunResult:
    """Return the result of a run that came to nothing but this error."""
    status = _NOT_COMPILED.get(error.result.reason, RunStatus.COMPILE_FAILED)
    return RunResult(status=status, message=error.message, metrics=error.metrics, compile=error.result)


def compile_result(run: RunResult) -> CompileResult:
    """Translate what became of the compiler."""
    ok = run.status is RunStatus.SUCCEEDED
    return CompileResult(
        ok=ok,
        reason=_REASONS.get(run.status, run.status.value),
        stdout_data=run.stdout_data,
        stderr_data=run.stderr_data,
        exit_code=run.exit_code,
        stdout_bytes=run.stdout_bytes,
        stderr_bytes=run.stderr_bytes,
        wall_ms=run.metrics.run_ms,
        cpu_ms=run.metrics.cpu_user_ms + run.metrics.cpu_system_ms,
        peak_memory_mib=run.metrics.peak_memory_mib,
        message=None if ok else f"compile failed: {_why(run)}",
    )


def _why(run: RunResult) -> str:
    if run.status is RunStatus.FAILED and run.exit_code is not None:
        return f"the compiler ended with exit code {run.exit_code}"
    if run.status in (RunStatus.VM_DIED, RunStatus.START_FAILED):
        return run.message or "the compiler could not be started"
    return f"the compiler was {run.message}"


def _about(kind: str, result: CompileResult) -> dict[str, Any]:
    return {
        "kind": kind,
        "stdout": base64.b64encode(result.stdout_data).decode("ascii"),
        "stderr": base64.b64encode(result.stderr_data).decode("ascii"),
        "stdout_bytes": result.stdout_bytes,
        "stderr_bytes": result.stderr_bytes,
    }


def _remembered(about: Mapping[str, Any]) -> CompileResult:
    """Return the result of a program that was compiled before, with what its compiler said then."""
    return CompileResult(
        ok=True,
        reason="cached",
        stdout_data=base64.b64decode(about["stdout"]),
        stderr_data=base64.b64decode(about["stderr"]),
        stdout_bytes=int(about["stdout_bytes"]),
        stderr_bytes=int(about["stderr_bytes"]),
    )
