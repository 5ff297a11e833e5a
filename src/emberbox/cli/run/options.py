"""What `emberbox run` was asked, and the quick way to it.

Typer costs more time than a clone of a VM. The usual command lines are therefore read here;
whatever is unusual (help, mistakes, joined short options) is left to Typer, which knows the same
options and explains itself. A test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from emberbox.cli.context import GlobalOptions
from emberbox.cli.options import RUN
from emberbox.errors import InvalidInput
from emberbox.model import RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """What `emberbox run` was given.

    Args:
        file: Script on the host; `-` for standard input; None with `code`.
        args: The program's arguments.
        code: The script's text.
        runtime: Name or alias; None to tell it from the file.
        options: How the program is run, but for what of it is told otherwise below.
        timeout_s: Seconds; 0 for no limit, None for the runtime's own.
        max_output_mib: Output at which the program is killed, in MiB; 0 for no limit, None for the usual one.
        env: `K=V` or `K`.
        secret_env: The same.
        files: `HOST` or `HOST:GUEST`.
        console: Show the guest's console on standard error.
        json: Print the result as JSON instead of the output.
        time: Tell on standard error where the time went.
        interactive: Pass standard input even when it is a terminal.
        output_dir: Folder on the host that takes the files of the output folder; None to leave them.
        requirements: requirements.txt or package.json on the host whose packages are installed
            first; None for none.
    """

    file: str | None = None
    args: tuple[str, ...] = ()
    code: str | None = None
    runtime: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    timeout_s: float | None = None
    max_output_mib: int | None = None
    env: tuple[str, ...] = ()
    secret_env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    console: bool = False
    json: bool = False
    time: bool = False
    interactive: bool = False
    output_dir: str | None = None
    requirements: str | None = None

    @classmethod
    def of(cls, positional: Sequence[str], given: Mapping[str, Any]) -> RunLine:
        """Return the line. The first positional argument is the file, unless there is `code`.

        Args:
            positional: All that is no option.
            given: The values of `options.RUN`, by their fields; None is as good as not given.

        Raises:
            InvalidInput: No program can be run so.
        """
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        values |= {name: tuple(values[name]) for name in REPEATABLE & values.keys()}
        own = {name: values.pop(name) for name in [*values] if name in _OWN}
        scripts = 0 if "code" in own else 1
        file = positional[0] if positional and scripts else None
        return cls(file=file, args=tuple(positional[scripts:]), options=RunOptions(**values), **own)


_OWN = frozenset(one.name for one in fields(RunLine)) - {"file", "args", "options"}
_Values = dict[str, tuple[str, "Callable[[str], Any]"]]
FLAGS = {name: option.field for option in RUN if option.kind is bool for name in option.names.split()}
_VALUED = [option for option in RUN if option.kind is not bool]
VALUES: _Values = {name: (option.field, option.kind) for option in _VALUED for name in option.names.split()}
REPEATABLE = frozenset(option.field for option in RUN if option.many)
_GLOBAL_FLAGS = {"--debug": "debug", "--verbose": "verbose", "-v": "verbose"}
_GLOBAL_VALUES: _Values = {"--data": ("data", str), "--config": ("config", str)}


def parse_quickly(argv: Sequence[str]) -> tuple[GlobalOptions, RunLine] | None:
    """Read an ordinary `… run …`; None for everything that Typer should look at."""
    words = list(argv)
    found = _take(words, _GLOBAL_FLAGS, _GLOBAL_VALUES, interspersed=False)
    if found is None or not words or words[0] != "run":
        return None
    run = _take(words[1:], FLAGS, VALUES, interspersed=True)
    if run is None or (not run.positional and not {"code", "runtime"} & run.values.keys()):
        return None
    try:
        return GlobalOptions(**found.values), RunLine.of(run.positional, run.values)
    except InvalidInput:
        return None


@dataclass(slots=True)
class _Taken:
    values: dict[str, Any]
    positional: list[str]


def _take(words: list[str], flags: dict[str, str], values: _Values, *, interspersed: bool) -> _Taken | None:
    """Take options off the front of `words`, in place.

    Positional words are taken too where they may be mixed with options (`interspersed`).
    """
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


def _take_option(words: list[str], flags: dict[str, str], values: _Values, into: dict[str, Any]) -> bool:
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
