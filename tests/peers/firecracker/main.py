"""The program: arguments, the process's life, its exit code."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import sys
from dataclasses import dataclass
from typing import Any

from tests.peers.firecracker.controller import Controller
from tests.peers.firecracker.metrics import Metrics
from tests.peers.firecracker.options import Options
from tests.peers.firecracker.output import Log
from tests.peers.firecracker.server import Server

EXIT_ERROR = 1
EXIT_ARGUMENTS = 153
_EXITS = {
    signal.SIGSYS: 148,
    signal.SIGBUS: 149,
    signal.SIGSEGV: 150,
    signal.SIGXFSZ: 151,
    signal.SIGXCPU: 154,
    signal.SIGHUP: 156,
    signal.SIGILL: 157,
}
_VALUES = (
    *("id", "api-sock", "log-path", "level", "module", "metrics-path", "http-api-max-payload-size"),
    *("start-time-us", "start-time-cpu-us", "parent-cpu-time-us"),
)
_FLAGS = ("version", "snapshot-version", "show-level", "show-log-origin", "no-seccomp", "boot-timer")
_IDENTITY = re.compile(r"[A-Za-z0-9-]{1,64}")
_LEVEL = re.compile(r"error|warning|info|debug|trace|off", re.IGNORECASE)
_SOCKET = "/run/firecracker.socket"
_FLUSH_S = 60.0


class UsageError(Exception):
    """The arguments cannot be understood."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line; values by the names of their options."""

    values: dict[str, str]
    flags: frozenset[str]

    @property
    def identity(self) -> str:
        """The microVM's id."""
        return self.values.get("id", "anonymous-instance")


def main(argv: list[str], options: dict[str, Any]) -> int:
    """Run as Firecracker with the arguments `argv` (without the program's name); returns the exit code.

    Args:
        argv: Arguments.
        options: See `tests.peers.firecracker`.
    """
    chosen = Options(**options)
    try:
        arguments = parse(argv)
    except UsageError as error:
        sys.stderr.write(f"Arguments parsing error: {error} \n\nFor more information try --help.\n")
        return EXIT_ARGUMENTS
    if "version" in arguments.flags:
        sys.stdout.write(f"Firecracker v{chosen.version}\n")
        return 0
    if "snapshot-version" in arguments.flags:
        sys.stdout.write(f"v{chosen.snapshot_version}\n")
        return 0
    _prepare()
    return asyncio.run(_run(arguments, chosen))


def parse(argv: list[str]) -> Arguments:
    """Return what the command line says. Raises `UsageError`."""
    values: dict[str, str] = {}
    flags: set[str] = set()
    words = iter(argv)
    for word in words:
        name = word.removeprefix("--")
        if name == word or name not in (*_VALUES, *_FLAGS):
            raise UsageError(
                f"Found argument '{word}' which wasn't expected, or isn't valid in this context."
            )
        if name in values or name in flags:
            raise UsageError(f"The argument '{name}' was provided more than once.")
        if name in _FLAGS:
            flags.add(name)
            continue
        value = next(words, "")
        if not value:
            raise UsageError(f"The argument '{name}' requires a value, but none was supplied.")
        values[name] = value
    return _checked(Arguments(values, frozenset(flags)))


def _checked(arguments: Arguments) -> Arguments:
    if not _IDENTITY.fullmatch(arguments.identity):
        raise UsageError(f"Invalid instance ID: {arguments.identity}.")
    for name, value in arguments.values.items():
        if name.endswith("-us") and not (value.isascii() and value.isdigit()):
            raise UsageError(f"'{name}' parameter expected to be of 'u64' type.")
    if not _LEVEL.fullmatch(arguments.values.get("level", "info")):
        raise UsageError(f"Invalid log level: {arguments.values['level']}.")
    return arguments


def _prepare() -> None:
    # The guest's memory is a file here, which Firecracker's is not.
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def _run(arguments: Arguments, options: Options) -> int:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number, code in _EXITS.items():
        asyncio.get_running_loop().add_signal_handler(number, end, code)
    log = Log(arguments.identity)
    metrics = Metrics(arguments.identity)
    controller = Controller(arguments.identity, options, log, metrics, end)
    server = Server(controller, options, log, metrics, end)
    if not await _begin(arguments, log, metrics, server):
        return EXIT_ERROR
    log.write(f"Running Firecracker v{options.version}")
    flushing = asyncio.create_task(_flush(controller), name="flush")
    try:
        code = await ended
    finally:
        server.close()
        flushing.cancel()
        await controller.flush()
        await controller.close()
    log.write(f"Firecracker exiting {'successfully' if code == 0 else 'with error'}. exit_code={code}")
    return code


async def _begin(arguments: Arguments, log: Log, metrics: Metrics, server: Server) -> bool:
    values = arguments.values
    try:
        log.configure(
            path=values.get("log-path"), level=values.get("level"), show_level="show-level" in arguments.flags
        )
        if "metrics-path" in values:
            metrics.configure(values["metrics-path"])
    except OSError as error:
        log.write(f"RunWithApiError error: Could not initialize logger or metrics: {error}", level="error")
        return False
    path = values.get("api-sock", _SOCKET)
    try:
        # asyncio would put a new socket in place of an old one.
        if os.path.lexists(path):
            raise FileExistsError(path)
        await server.start(path)
    except OSError:
        text = (
            f"RunWithApiError error: Failed to open the API socket at: {path}. Check that it is not already "
            "used."
        )
        log.write(text, level="error")
        sys.stderr.write(f"{text}\n")
        return False
    return True


async def _flush(controller: Controller) -> None:
    while True:
        await asyncio.sleep(_FLUSH_S)
        await controller.flush()
