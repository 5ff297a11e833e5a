"""What `emberbox run` was asked, and the quick way to it.

Typer costs more time than a clone of a VM. The usual command lines are therefore read here; whatever is unusual (help, mistakes,
joined short options) is left to Typer, which knows the same options and explains itself. A test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emberbox.cli.context import GlobalOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `emberbox run`, as given.

    Args:
        file: Script on the host; `-` for standard input; None with `code`.
        args: The program's arguments.
        code: The script's text.
        runtime: Name or alias; None to tell it from the file.
        timeout_s: Seconds; 0 for no limit, None for the runtime's own.
        memory_mib: Memory of the VM in MiB; None for the runtime's own.
        vcpus: Virtual CPUs; None for the runtime's own.
        disk_mib: Bound of what may be written, in MiB; None for the runtime's own.
        max_output_mib: Output at which the program is killed, in MiB; 0 for no limit, None for the usual one.
        env: `K=V` or `K`.
        files: `HOST` or `HOST:GUEST`.
        cold: Boot instead of cloning.
        json: Print the result as JSON instead of the output.
        time: Tell on standard error where the time went.
        interactive: Pass standard input even when it is a terminal.
        output_dir: Folder on the host that takes the files of the output folder; None to leave them.
        requirements: requirements.txt or package.json on the host whose packages are installed first; None for none.
    """

    file: str | None = None
    args: tuple[str, ...] = ()
    code: str | None = None
    runtime: str | None = None
    timeout_s: float | None = None
    memory_mib: int | None = None
    vcpus: int | None = None
    disk_mib: int | None = None
    max_output_mib: int | None = None
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    cold: bool = False
    json: bool = False
    time: bool = False
    interactive: bool = False
    output_dir: str | None = None
    requirements: str | None = None

    @classmethod
    def of(cls, positional: Sequence[str], **options: Any) -> RunOptions:
        """Return the options; with `code` every positional argument is the program's, else the first one is the file."""
        if options.get("code") is not None:
            return cls(file=None, args=tuple(positional), **options)
        return cls(file=positional[0] if positional else None, args=tuple(positional[1:]), **options)


FLAGS = {
    "--cold": "cold",
    "--json": "json",
    "--time": "time",
    "-i": "interactive",
    "--interactive": "interactive",
}
VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "-c": ("code", str),
    "--code": ("code", str),
    "-r": ("runtime", str),
    "--runtime": ("runtime", str),
    "-t": ("timeout_s", float),
    "--timeout": ("timeout_s", float),
    "-m": ("memory_mib", int),
    "--memory": ("memory_mib", int),
    "--vcpus": ("vcpus", int),
    "--disk": ("disk_mib", int),
    "--max-output": ("max_output_mib", int),
    "-e": ("env", str),
    "--env": ("env", str),
    "-f": ("files", str),
    "--file": ("files", str),
    "-o": ("output_dir", str),
    "--output-dir": ("output_dir", str),
    "--requirements": ("requirements", str),
}
REPEATABLE = frozenset({"env", "files"})
_GLOBAL_FLAGS = {"--debug": "debug", "--verbose": "verbose", "-v": "verbose"}
_GLOBAL_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {"--data": ("data", str), "--config": ("config", str)}


def parse_quickly(argv: Sequence[str]) -> tuple[GlobalOptions, RunOptions] | None:
    """Read an ordinary `… run …`; None for everything that Typer should look at."""
    words = list(argv)
    found = _take(words, _GLOBAL_FLAGS, _GLOBAL_VALUES, interspersed=False)
    if found is None or not words or words[0] != "run":
        return None
    run = _take(words[1:], FLAGS, VALUES, interspersed=True)
    if run is None or (not run.positional and not {"code", "runtime"} & run.values.keys()):
        return None
    return GlobalOptions(**found.values), RunOptions.of(run.positional, **run.values)


@dataclass(slots=True)
class _Taken:
    values: dict[str, Any]
    positional: list[str]


def _take(
    words: list[str], flags: dict[str, str], values: dict[str, tuple[str, Callable[[str], Any]]], *, interspersed: bool
) -> _Taken | None:
    """Take options off the front of `words`, in place; also the positional ones where they may be mixed with options."""
    taken = _Taken({}, [])
    while words:
        word = words[0]
        if not word.startswith("-") or word == "-":
            if not interspersed:
                return taken
            taken.positional.append(words.pop(0))
        elif word == "--":
            if not interspersed:
                return None
            taken.positional += words[1:]
            return taken
        elif not _take_option(words, flags, values, taken.values):
            return None
    return taken


def _take_option(
    words: list[str], flags: dict[str, str], values: dict[str, tuple[str, Callable[[str], Any]]], into: dict[str, Any]
) -> bool:
    word = words.pop(0)
    if word in flags:
        into[flags[word]] = True
        return True
    name, joined, value = word.partition("=")
    if name not in values or (joined and not name.startswith("--")) or not (joined or words):
        return False
    field, convert = values[name]
    try:
        converted = convert(value if joined else words.pop(0))
    except ValueError:
        return False
    into[field] = (*into.get(field, ()), converted) if field in REPEATABLE else converted
    return True
