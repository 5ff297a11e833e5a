"""The program that `emberbox run` is given, checked before anything is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.cli.inputs import check_file
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.cli.run.options import RunLine
    from emberbox.runtimes import Runtime, RuntimeCatalog


@dataclass(frozen=True, slots=True)
class Program:
    """What is run: a path on the host, or the script's bytes.

    `name` is the script's name in the work folder; None for the usual one.
    """

    code: Path | bytes
    runtime: Runtime
    name: str | None = None


def read_program(run: RunLine, runtimes: RuntimeCatalog) -> Program:
    """Find the script and its runtime.

    Raises:
        InvalidInput: There is no such file, it is no file, or no runtime is named where none can
            be told.
        UnknownRuntime: No runtime of that name, or none for such a file.
    """
    if run.runtime is not None and not (own := runtimes.get(run.runtime)).takes_script:
        if run.code is not None:
            raise InvalidInput(
                f"the runtime {own.name} runs the program of its image and takes no script; "
                "give its arguments alone"
            )
        return Program(b"", own)
    if run.code is not None:
        return Program(os.fsencode(run.code), runtimes.get(_named(run, "-c", runtimes)))
    if run.file is None:
        raise InvalidInput("name the script to run, or give its text with -c; see emberbox run --help")
    if run.file == "-":
        runtime = runtimes.get(_named(run, "a script from standard input", runtimes))
        return Program(sys.stdin.buffer.read(), runtime)
    path = Path(run.file)
    check_file(path)
    return Program(path, runtimes.get(run.runtime) if run.runtime is not None else runtimes.for_file(path))


def program_arguments(run: RunLine, runtime: Runtime) -> tuple[str, ...]:
    """Return the program's own arguments.

    Where no script is taken, what stands in a script's place is one of them.
    """
    return run.args if runtime.takes_script or run.file is None else (run.file, *run.args)


def _named(run: RunLine, what: str, runtimes: RuntimeCatalog) -> str:
    if run.runtime is None:
        raise InvalidInput(f"{what} needs a runtime: --runtime {'|'.join(runtimes.names) or 'NAME'}")
    return run.runtime
