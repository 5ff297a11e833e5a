"""What is checked: one runtime, on an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import at_rest
from emberbox.languages.examples import Examples
from emberbox.languages.verdict import Skipped, Wrong, one_line
from emberbox.model import RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.model import RunResult
    from emberbox.runtimes import Runtime
    from emberbox.sandbox import Engine

RUN_S = 300.0
"""How long an example may run. How fast a language is, is measured; whether it is right does not
depend on a busy host."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A runtime and the engine that runs it.

    Args:
        engine: Started, and without a pool.
        runtime: One of the engine's.
    """

    engine: Engine
    runtime: Runtime

    @property
    def examples(self) -> Examples:
        """The runtime's examples."""
        return Examples.of(self.runtime)

    def example(self, name: str) -> Path:
        """Return an example's path; raises `Skipped` when it is not there, which is a finding of its own."""
        if not self.examples.has(name):
            raise Skipped(f"there is no {self.examples.path(name).name}")
        return self.examples.path(name)

    async def run(self, code: Path | bytes, **options: object) -> RunResult:
        """Run a program in a machine of its own, for at most `RUN_S` where `options` name no `timeout_s`."""
        return await self.engine.run(code, runtime=self.runtime.name, **{"timeout_s": RUN_S, **options})  # type: ignore[arg-type]


def messages(result: RunResult) -> str:
    """Return all that the tools and the program said about what went wrong, the compiler's first."""
    compiled = result.compile
    texts = [] if compiled is None else [compiled.stderr, compiled.stdout]
    said = "\n".join(text.strip() for text in (*texts, result.stderr) if text.strip())
    return said or ("" if compiled is None or compiled.ok else compiled.message or "")


def ended(result: RunResult) -> str:
    """Return in one line how a run ended."""
    how = result.status.value
    if result.exit_code is not None:
        how += f", exit code {result.exit_code}"
    if result.signal is not None:
        how += f", signal {result.signal}"
    said = (messages(result) or (result.message or "")).strip().splitlines()
    # Compilers begin with what is wrong, interpreters end with it.
    telling = said[:1] if result.status is RunStatus.COMPILE_FAILED else said[-1:]
    return one_line(": ".join([how, *telling]))


def expect(result: RunResult, *statuses: RunStatus, mend: str) -> None:
    """Raise `Wrong` when a run did not end as one of `statuses`."""
    if result.status not in statuses:
        wanted = " or ".join(status.value for status in statuses)
        raise Wrong(f"ended as {ended(result)}; expected {wanted}", mend)


async def check_nothing_left(subject: Subject, machines: int = 0) -> str:
    """Wait until only `machines` machines of the engine live; raises `Wrong` when more stay."""
    if not await at_rest(subject.engine, machines):
        raise Wrong(f"{subject.engine.machines} machines still live", "report it: a sandbox was not ended")
    return "no machine is left"
