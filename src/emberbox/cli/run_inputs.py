"""What `emberbox run` is given: the script, environment variables, files. Checked before anything is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emberbox.cli.run_options import RunOptions
    from emberbox.runtimes import Runtime, RuntimeCatalog


@dataclass(frozen=True, slots=True)
class Program:
    """What is run: a path on the host, or the script's bytes.

    `name` is the script's name in the work folder; None for the usual one.
    """

    code: Path | bytes
    runtime: Runtime
    name: str | None = None


def read_program(run: RunOptions, runtimes: RuntimeCatalog) -> Program:
    """Find the script and its runtime.

    Raises:
        InvalidInput: There is no such file, it is no file, or no runtime is named where none can be told.
        UnknownRuntime: No runtime of that name, or none for such a file.
    """
    if run.runtime is not None and not (own := runtimes.get(run.runtime)).takes_script:
        return _own_program(run, own)
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


def _own_program(run: RunOptions, runtime: Runtime) -> Program:
    if run.code is not None:
        raise InvalidInput(
            f"the runtime {runtime.name} runs the program of its image and takes no script; give its arguments alone"
        )
    return Program(b"", runtime)


def program_arguments(run: RunOptions, runtime: Runtime) -> tuple[str, ...]:
    """Return the program's own arguments: where no script is taken, what stands in a script's place is one of them."""
    return run.args if runtime.takes_script or run.file is None else (run.file, *run.args)


def _named(run: RunOptions, what: str, runtimes: RuntimeCatalog) -> str:
    if run.runtime is None:
        raise InvalidInput(f"{what} needs a runtime: --runtime {'|'.join(runtimes.names) or 'NAME'}")
    return run.runtime


def check_file(path: Path, instead: str = "") -> None:
    """Raise `InvalidInput` for what is no file that can be read; `instead` ends what is said of a folder."""
    if not path.exists():
        raise InvalidInput(f"there is no file {str(path)!r}")
    if path.is_dir():
        raise InvalidInput(f"{str(path)!r} is a folder; name the script in it, and pass the others with --file{instead}")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{str(path)!r} may not be read by you")


def read_environment(given: Iterable[str], host: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of `K=V` and `K`; the latter takes its value from the host.

    Args:
        given: As on the command line.
        host: The host's variables; None for this process's own.
    """
    known = os.environ if host is None else host
    variables = {}
    for text in given:
        name, joined, value = text.partition("=")
        if not name:
            raise InvalidInput(f"--env {text!r}: give NAME=VALUE, or NAME to take its value from here")
        if not joined and name not in known:
            raise InvalidInput(f"--env {name}: it is not set here; give it as {name}=VALUE")
        variables[name] = value if joined else known[name]
    return variables


def read_files(given: Iterable[str]) -> dict[str, Path]:
    """Return guest path → host path of `HOST` and `HOST:GUEST`. A folder stands for all files below it."""
    files: dict[str, Path] = {}
    for text in given:
        host, guest = _split(text)
        if host.is_dir():
            base = guest or host.resolve().name
            files |= {f"{base}/{file.relative_to(host).as_posix()}": file for file in sorted(host.rglob("*")) if file.is_file()}
        else:
            check_file(host)
            files[guest or host.name] = host
    return files


def _split(text: str) -> tuple[Path, str]:
    """Split at the last colon, unless the whole names something that exists."""
    host, joined, guest = text.rpartition(":")
    if not joined or Path(text).exists():
        return Path(text), ""
    if not host or not guest:
        raise InvalidInput(f"--file {text!r}: give HOST, or HOST:GUEST with a path in the work folder")
    return Path(host), guest.rstrip("/") if not guest.endswith("/") or Path(host).is_dir() else guest + Path(host).name
