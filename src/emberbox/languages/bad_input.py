"""Input that no program should be given.

Each must end with a clear result: never an error of the engine, nothing left behind.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emberbox.languages.examples import GREETING
from emberbox.languages.subject import RUN_S, ended, messages
from emberbox.languages.verdict import Wrong, one_line
from emberbox.model import MIB, RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.languages.subject import Subject
    from emberbox.model import RunResult
    from emberbox.runtimes import Runtime

BAD_COMPILE_S = 600.0
"""A compiler's own limits end it long before."""
LARGE_BYTES = 10 * MIB
C_TEXT = b'#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); return 0; }\n'
LISP_TEXT = b"(define (twice n) (* 2 n))\n(display (map twice '(1 2 3)))\n"
SPOILT = b"\xff\xfe\xc3\x28 \x80\x81 print \xf5\xf6\n\xc0\xaf = \xed\xa0\x80;\n"
"""Bytes that are no UTF-8, with no sense in any language."""
COMPANIONS = (
    "stdio.h",
    "iostream",
    "os.py",
    "sys.py",
    "string.js",
    "package.json",
    "tsconfig.json",
    "go.mod",
    "Cargo.toml",
    "dune",
    "Makefile",
    "String.class",
    "Object.java",
    "Prelude.hs",
    "system.pas",
    "stdlib.rb",
    "init.lua",
    "a.out",
)
"""Names that some language or tool looks for beside a program."""
JUNK = b"\x00}{)( this is no source at all \xff\n"
CLEAR = frozenset(RunStatus) - {RunStatus.VM_DIED, RunStatus.START_FAILED, RunStatus.CANCELLED}
"""Ends that tell a person what became of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadInput:
    """A program that should not be.

    Args:
        name: What is bad about it.
        code: Its source.
        script: Its name in the work folder; None for the usual one.
        files: What lies beside it.
        greets: Whether its source is that of `hello`: then it may be refused, but must not end well
            with anything else.
        quick: Whether a quick check gives it, too.
    """

    name: str
    code: bytes
    script: str | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    greets: bool = False
    quick: bool = True


def bad_inputs(runtime: Runtime, hello: bytes) -> list[BadInput]:
    """Return what every language is given.

    Args:
        runtime: The language.
        hello: The source of its `hello`.
    """
    extension = runtime.extensions[0] if runtime.extensions else ""
    foreign = LISP_TEXT if b"#include" in hello else C_TEXT
    padding = (b" " * 4095 + b"\n") * (LARGE_BYTES // 4096)
    usual = f"main{extension}"
    return [
        BadInput(name="empty source", code=b""),
        BadInput(name="wrong language", code=foreign),
        BadInput(name="invalid UTF-8", code=SPOILT),
        BadInput(name="10 MiB source", code=hello + padding, greets=True, quick=False),
        BadInput(
            name="name with spaces and quotes",
            code=hello,
            script=f'it\'s a "name" $(id){extension}',
            greets=True,
        ),
        BadInput(name="name with a leading dash", code=hello, script=f"-name{extension}", greets=True),
        BadInput(
            name="name in Unicode", code=hello, script=f"größe-文字-🔥{extension}", greets=True, quick=False
        ),
        BadInput(
            name="name of a system file",
            code=hello,
            script=f"{_system_name(runtime)}{extension}",
            greets=True,
            quick=False,
        ),
        BadInput(
            name="system files' names beside it",
            code=hello,
            files=dict.fromkeys(COMPANIONS, JUNK),
            greets=True,
        ),
        BadInput(
            name="a folder where its output goes",
            code=hello,
            files={f"{usual}.out/keep/it": JUNK},
            greets=True,
        ),
    ]


def _system_name(runtime: Runtime) -> str:
    """Return a name that the language's own command, or its library, has."""
    argv = runtime.argv if runtime.compile is None else runtime.compile.argv
    command = re.sub(r"[^A-Za-z]", "", argv[0].rpartition("/")[2])
    return command or "string"


async def check_bad_input(subject: Subject, bad: BadInput) -> str:
    """Run one of them and tell how it ended; raises `Wrong` when that is not clear."""
    result = await subject.run(bad.code, name=bad.script, files=bad.files, timeout_s=RUN_S)
    return judge(bad, result)


def judge(bad: BadInput, result: RunResult) -> str:
    """Return how a run of bad input ended, in a line; raises `Wrong` when that is not clear."""
    if result.status not in CLEAR:
        raise Wrong(
            f"ended as {ended(result)}", "bad source must end as the program's or the compiler's failure"
        )
    if result.ok and bad.greets:
        if result.stdout_data != GREETING:
            raise Wrong(
                f"ended well and printed {result.stdout[:80]!r}",
                "run the script itself, whatever its name is",
            )
        return "runs"
    if result.ok:
        return "ends well: " + (one_line(result.stdout, 60) or "prints nothing")
    if result.status in (RunStatus.FAILED, RunStatus.COMPILE_FAILED) and not (
        messages(result) or result.stdout or result.message
    ):
        raise Wrong(
            f"ended as {ended(result)} without a word", "let the manifest's command print what is wrong"
        )
    return f"refused: {one_line(ended(result), 120)}"


async def check_bad_compile(subject: Subject, path: Path) -> str:
    """Run a source at which the compiler must be stopped, then `hello` in the same machine."""
    async with asyncio.timeout(BAD_COMPILE_S), subject.engine.sandbox(subject.runtime.name) as sandbox:
        result = await sandbox.run(path, timeout_s=RUN_S)
        if result.status is not RunStatus.COMPILE_FAILED or result.compile is None:
            raise Wrong(
                f"ended as {ended(result)}; expected compile_failed",
                "let the compile stage's limits end it, "
                "before the machine's memory or the caller's patience does",
            )
        after = await sandbox.run(subject.example("hello"), timeout_s=RUN_S)
        if after.stdout_data != GREETING:
            raise Wrong(
                f"the machine is of no use behind it: {ended(after)}", "lower the compile stage's limits"
            )
    return f"{result.compile.reason} after {result.compile.wall_ms / 1000:.1f} s; the machine goes on"
