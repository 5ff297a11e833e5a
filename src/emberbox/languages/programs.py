"""The checks that run a runtime's examples."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emberbox.errors import GuestRequestFailed
from emberbox.languages.examples import BEFORE, EXIT_CODE, GREETING, NUMBERS, SORTED, SUM_FILE
from emberbox.languages.subject import RUN_S, ended, expect, messages
from emberbox.languages.verdict import Skipped, Wrong, one_line
from emberbox.model import RunStatus

if TYPE_CHECKING:
    from emberbox.languages.subject import Subject
    from emberbox.model import RunResult

MANY = 1000
"""Numbers of the longer run of `program`."""
_NUMBER = re.compile(r"(?<![\d.])\d+(?!\.?\d)")


async def version(subject: Subject) -> str:
    """Return what the language says of its own version."""
    text = await version_text(subject)
    if subject.runtime.version not in text:
        raise Wrong(
            f"the manifest says {subject.runtime.version}, and the language says: {text}",
            "set 'version' in the manifest to what the language says",
        )
    return text


async def version_text(subject: Subject) -> str:
    """Return the first line that the manifest's `version_argv` prints; raises `Skipped` where it has none."""
    argv = subject.runtime.version_argv
    if not argv:
        raise Skipped("the manifest has no version_argv")
    async with subject.engine.sandbox(subject.runtime.name) as sandbox:
        result = await sandbox.command(argv, timeout_s=RUN_S)
    expect(result, RunStatus.SUCCEEDED, mend="mend 'version_argv' in the manifest")
    lines = [line.strip() for line in f"{result.stdout}\n{result.stderr}".splitlines() if line.strip()]
    if not lines:
        raise Wrong(f"{' '.join(argv)} prints nothing", "mend 'version_argv' in the manifest")
    return one_line(lines[0], 120)


async def hello(subject: Subject) -> str:
    """Run `hello`."""
    path = subject.example("hello")
    check_greeting(await subject.run(path), f"examples/{path.name}")
    return "prints its greeting and exits with 0"


def check_greeting(result: RunResult, name: str) -> RunResult:
    """Return a run's result if it is that of `hello`; raises `Wrong`."""
    expect(result, RunStatus.SUCCEEDED, mend=f"mend {name}, or what the manifest's commands need")
    if result.stdout_data != GREETING:
        raise Wrong(f"{name} printed {result.stdout[:80]!r}, not {GREETING.decode()!r}", f"mend {name}")
    return result


async def program(subject: Subject) -> str:
    """Run `program`: standard input, standard library, a file, an exit code."""
    path = subject.example("program")
    async with subject.engine.sandbox(subject.runtime.name) as sandbox:
        result = await sandbox.run(path, stdin=NUMBERS, timeout_s=RUN_S)
        _check_program(result, path.name, SORTED)
        try:
            written = await sandbox.read_file(SUM_FILE[0])
        except GuestRequestFailed as error:
            raise Wrong(
                f"wrote no {SUM_FILE[0]}: {error.message}", f"let {path.name} write it in its folder"
            ) from error
        if written != SUM_FILE[1]:
            raise Wrong(f"wrote {written[:80]!r} to {SUM_FILE[0]}, not {SUM_FILE[1]!r}", f"mend {path.name}")
        numbers = [(7919 * index) % 100_003 - 50_000 for index in range(MANY)]
        many = await sandbox.run(path, stdin="\n".join(map(str, numbers)).encode(), timeout_s=RUN_S)
        expected = f"{' '.join(map(str, sorted(numbers)))}\nsum {sum(numbers)}\n"
        _check_program(many, path.name, expected.encode())
    return f"sorts and adds up 4 numbers and {MANY:,}, writes {SUM_FILE[0]}, exits with {EXIT_CODE}"


def _check_program(result: RunResult, name: str, expected: bytes) -> None:
    mend = f"mend {name}: read all of standard input, exit with {EXIT_CODE}"
    expect(result, RunStatus.FAILED, mend=mend)
    if result.stdout_data != expected:
        raise Wrong(f"printed {result.stdout[:120]!r}, not {expected[:120].decode()!r}", mend)
    if result.exit_code != EXIT_CODE:
        raise Wrong(f"ended as {ended(result)}; expected exit code {EXIT_CODE}", mend)


async def compile_error(subject: Subject) -> str:
    """Run `compile_error`: a compiler's verdict, or an interpreter's refusal, that names the line."""
    path = subject.example("compile_error")
    result = await subject.run(path)
    if subject.runtime.compile is not None:
        expect(
            result, RunStatus.COMPILE_FAILED, mend=f"put a mistake into {path.name} that the compiler refuses"
        )
    else:
        expect(result, RunStatus.FAILED, mend=f"let {path.name} end with another exit code than 0")
    said = messages(result) or result.stdout
    if not names_line(said, path.read_bytes().count(b"\n") + 1):
        raise Wrong(
            f"the message names no line: {said or '(nothing)'}",
            "let the manifest's command print where the mistake is",
        )
    return one_line(said, 120)


def names_line(message: str, lines: int) -> bool:
    """Tell whether a message holds a number that may be one of a source's `lines`."""
    return any(1 <= int(number) <= lines for number in _NUMBER.findall(message) if len(number) < 10)


async def runtime_error(subject: Subject) -> str:
    """Run `runtime_error`: it starts, and fails by an error that nobody caught."""
    path = subject.example("runtime_error")
    result = await subject.run(path)
    expect(
        result, RunStatus.FAILED, mend=f"let {path.name} print 'before' and then fail by an uncaught error"
    )
    if not result.stdout_data.startswith(BEFORE):
        raise Wrong(
            f"printed {result.stdout[:80]!r}, not 'before', first",
            f"let {path.name} print and flush it first",
        )
    if not result.stderr_data.strip():
        raise Wrong(
            "failed without a word on standard error",
            f"choose an error for {path.name} that the language tells of",
        )
    return one_line(result.stderr, 120)
