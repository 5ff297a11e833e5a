"""A stand-in for the engine that runs scripts as plain processes of the host.

As a program it is `emberbox` on top of that engine: `python -m tests.unit.cli.local_engine run …`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from emberbox.errors import VmmStartFailed
from emberbox.model import Output, RunMetrics, RunResult, RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence

    from emberbox.model import Limits, RunOptions

LOG = "LOCAL_ENGINE_LOG"
"""Names the file to which the end of each part is written."""


def note(text: str) -> None:
    if LOG in os.environ:
        with Path(os.environ[LOG]).open("a") as log:
            log.write(f"{text}\n")


class LocalProcess:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: Path, *, stdin: bool) -> None:
        self._argv, self._env, self._folder = argv, env, folder
        self._stdin = asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=self._stdin,
            stdout=pipe,
            stderr=pipe,
            env=dict(self._env),
            cwd=self._folder,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._process.returncode is None:
            note("process killed")
        # Kills what still runs. `wait` alone would wait for pipes that nobody reads.
        self._process._transport.close()  # type: ignore[attr-defined]
        await self._process.wait()

    async def output(self) -> AsyncIterator[Output]:
        arrived: asyncio.Queue[Output | None] = asyncio.Queue(maxsize=4)

        async def read(name: Any, stream: asyncio.StreamReader) -> None:
            while data := await stream.read(65536):
                await arrived.put(Output(name, data))
            await arrived.put(None)

        assert self._process.stdout is not None
        assert self._process.stderr is not None
        readers = [
            asyncio.create_task(read("stdout", self._process.stdout)),
            asyncio.create_task(read("stderr", self._process.stderr)),
        ]
        try:
            ended = 0
            while ended < 2:
                piece = await arrived.get()
                if piece is None:
                    ended += 1
                else:
                    yield piece
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.wait(readers)

    async def write_stdin(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def collect(self, stdin: AsyncIterable[bytes] | None) -> RunResult:
        async for data in stdin or _nothing():
            await self.write_stdin(data)
        stdout, stderr = await self._process.communicate()
        return await self._result(stdout, stderr)

    async def result(self) -> RunResult:
        return await self._result(b"", b"")

    async def _result(self, stdout: bytes, stderr: bytes) -> RunResult:
        code = await self._process.wait()
        return RunResult(
            status=RunStatus.SUCCEEDED if code == 0 else RunStatus.FAILED,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            message=f"ended by signal {-code}" if code < 0 else None,
            stdout_data=stdout,
            stderr_data=stderr,
            stdout_bytes=len(stdout),
            stderr_bytes=len(stderr),
            metrics=RunMetrics(queue_ms=1.0, boot_ms=2.0, run_ms=3.0, total_ms=7.0, source="clone"),
        )


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


class LocalSandbox:
    def __init__(self, folder: Path, options: RunOptions, limits: Limits) -> None:
        self.folder, self.options, self.limits = folder, options, options.limits(limits)

    async def start_script(
        self,
        code: Path | bytes,
        *,
        stdin: bool,
        files: Mapping[str, Path],
        name: str | None,
    ) -> LocalProcess:
        script = self.folder / (name or (code.name if isinstance(code, Path) else "main.py"))
        script.write_bytes(code.read_bytes() if isinstance(code, Path) else code)
        for path, source in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(source.read_bytes())
        note(f"limits {self.limits.timeout_s} {self.limits.keep_bytes} {self.limits.output_bytes}")
        argv = [sys.executable, str(script), *self.options.args]
        return LocalProcess(argv, {"PATH": "/usr/bin:/bin", **self.options.env}, self.folder, stdin=stdin)


class LocalEngine:
    def __init__(self, settings: Any) -> None:
        self.settings = settings

    async def __aenter__(self) -> Self:
        if os.environ.get("LOCAL_ENGINE_FAILS"):
            raise VmmStartFailed("the VMM did not come up", detail="its last words")
        return self

    async def __aexit__(self, *error: object) -> None:
        note("engine closed")

    async def image(self, runtime: Any, progress: Any) -> None:
        await asyncio.sleep(0)

    async def template(
        self, runtime: str, *, memory_mib: int | None, vcpus: int | None, progress: Any
    ) -> None:
        if os.environ.get("LOCAL_ENGINE_BUILDS"):
            progress.step("kernel", 0.5)
            await asyncio.sleep(float(os.environ["LOCAL_ENGINE_BUILDS"]))

    @contextlib.asynccontextmanager
    async def sandbox(
        self,
        runtime: str,
        options: RunOptions,
        *,
        limits: Limits,
        console: Callable[[str], None] | None = None,
    ) -> AsyncIterator[LocalSandbox]:
        if console is not None:
            console("a line of the guest's kernel \x1b[2J")
        unseen = ("args", "env", "network")
        named = {name: value for name, value in options.to_json().items() if value and name not in unseen}
        note(f"sandbox {runtime} {named}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield LocalSandbox(Path(folder), options, limits)
            finally:
                note("sandbox closed")


if __name__ == "__main__":
    from emberbox.cli import context
    from emberbox.cli.main import main

    context.make_engine = LocalEngine  # type: ignore[assignment]
    sys.exit(main())
