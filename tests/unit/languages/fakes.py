"""An engine that runs nothing: it answers as a language would, well or badly."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from emberbox.errors import GuestRequestFailed
from emberbox.languages.examples import GREETING, NUMBERS
from emberbox.model import CompileResult, RunMetrics, RunResult, RunStatus
from emberbox.runtimes import Runtime, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MANIFEST = """
name = "toy"
version = "1.2"
extensions = [".toy"]
version_argv = ["toy", "--version"]
[run]
argv = ["toy", "{script}"]
"""
COMPILED = MANIFEST.replace("{script}", "{output}") + '[compile]\nargv = ["toyc", "{script}", "{output}"]\n'
EXAMPLES = ("hello", "program", "compile_error", "runtime_error", "twins")


def make_runtime(folder: Path, manifest: str = MANIFEST, examples: tuple[str, ...] = EXAMPLES) -> Runtime:
    """Write a runtime's folder and load it."""
    place = folder / "toy"
    (place / "examples").mkdir(parents=True)
    (place / "runtime.toml").write_text(manifest)
    for name in examples:
        (place / "examples" / f"{name}.toy").write_text(f"{name}\n\n\n")
    return load(place / "runtime.toml")


def ran(stdout: bytes = b"", stderr: bytes = b"", *, exit_code: int = 0, **values: Any) -> RunResult:
    """Return the result of a program that ended by itself."""
    status = RunStatus.SUCCEEDED if exit_code == 0 else RunStatus.FAILED
    metrics = RunMetrics(peak_memory_mib=3.5, source="clone")
    return RunResult(
        status=status, stdout_data=stdout, stderr_data=stderr, exit_code=exit_code, metrics=metrics, **values
    )


def refused(message: bytes = b"main.toy:2: what is this?", reason: str = "failed") -> RunResult:
    """Return the result of a program that did not compile."""
    compiled = CompileResult(
        ok=False, reason=reason, stderr_data=message, exit_code=1, message="the compiler refused it"
    )
    return RunResult(status=RunStatus.COMPILE_FAILED, compile=compiled)


@dataclass
class FakeEngine:
    """Answers by the name of the example; `answers` has what deviates from what is right."""

    runtime: Runtime
    answers: dict[str, RunResult | Exception] = field(default_factory=dict)
    machines: int = 0
    sum_file: bytes | None = b"18\n"
    version: bytes = b"Toy 1.2.3\nall rights given away\n"
    waiting: bool = False
    takes: bool = True
    as_plain: dict[str, RunResult] = field(default_factory=dict)
    greets_as: bytes = GREETING
    drawn: Any = field(default_factory=itertools.count)
    seen: list[str] = field(default_factory=list)
    bounds: list[Any] = field(default_factory=list)
    settings: Any = None
    runtimes: Any = None

    async def image(self, runtime: Runtime, progress: object = None) -> Any:
        self._answer("image")
        return SimpleNamespace(rootfs=runtime.manifest, digests={"rootfs": "0"})

    async def template(self, runtime: str, **options: object) -> Any:
        self._answer("template")
        record = SimpleNamespace(waiting=self.waiting, build_s=1.0)
        return SimpleNamespace(record=record, size=SimpleNamespace(memory_mib=64))

    async def run(self, code: Path | bytes, *, runtime: str, **options: Any) -> RunResult:
        self.bounds.append(options.get("timeout_s"))
        name = code.stem if isinstance(code, Path) else self.named(code)
        found = self._answer(name)
        if found is not None:
            return found
        if name == "twins":
            return ran(f"random {next(self.drawn)}\nother {next(self.drawn)}\n".encode())
        if name == "compile_error":
            return (
                refused()
                if self.runtime.compile is not None
                else ran(stderr=b"toy: line 2: what?", exit_code=2)
            )
        if name == "runtime_error":
            return ran(b"before\n", b"toy: oh no", exit_code=1)
        if name == "source" and not bytes(code).startswith(b"hello"):
            return ran(stderr=b"toy: what?", exit_code=2)
        return ran(self.greets_as)

    @asynccontextmanager
    async def sandbox(self, runtime: str) -> AsyncIterator[FakeSandbox]:
        yield FakeSandbox(self)

    def named(self, code: bytes) -> str:
        """Return the name of the example that is this source."""
        files = (self.runtime.folder / "examples").glob("*")
        return next((path.stem for path in sorted(files) if path.read_bytes() == code), "source")

    def _answer(self, name: str) -> RunResult | None:
        self.seen.append(name)
        found = self.answers.get(name)
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class FakeSandbox:
    """Sorts and adds up."""

    engine: FakeEngine

    async def command(self, argv: object, **options: object) -> RunResult:
        return ran(self.engine.version)

    async def run(self, path: Path, stdin: bytes = NUMBERS, **options: Any) -> RunResult:
        if path.stem != "program":
            return await self.engine.run(path, runtime="toy", **options)
        self.engine.bounds.append(options.get("timeout_s"))
        numbers = sorted(map(int, stdin.split()))
        usual = ran(f"{' '.join(map(str, numbers))}\nsum {sum(numbers)}\n".encode(), exit_code=3)
        found = self.engine.answers.get("program", usual)
        assert isinstance(found, RunResult)
        return found

    async def start_script(self, code: bytes, *, stdin: bool, env: dict[str, str]) -> FakeProcess:
        return FakeProcess(self, code, plain=bool(env))

    async def read_file(self, path: str) -> bytes:
        if self.engine.sum_file is None:
            raise GuestRequestFailed("not_found", "there is no sum.txt")
        return self.engine.sum_file


@dataclass
class FakeProcess:
    """An example, run by what waits or by what is started."""

    sandbox: FakeSandbox
    code: bytes
    plain: bool

    async def __aenter__(self) -> FakeProcess:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    @property
    def by_waiting_interpreter(self) -> bool:
        return not self.plain and self.sandbox.engine.takes

    async def collect(self, stdin: bytes) -> RunResult:
        engine = self.sandbox.engine
        usual = await engine.run(self.code, runtime="toy")
        return engine.as_plain.get(engine.named(self.code), usual) if self.plain else usual
