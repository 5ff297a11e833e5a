"""Runs a program in an interpreter that looks like that of a system without VMs.

As a program: `python elsewhere.py SYSTEM PROGRAM [ARGUMENT...]`; it wants nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import sysconfig
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = frozenset(
    {
        *(
            "aiosqlite",
            "alembic",
            "asyncpg",
            "cryptography",
            "fastapi",
            "httptools",
            "multipart",
            "obstore",
            "prometheus_client",
        ),
        *("python_multipart", "qemu", "sqlalchemy", "starlette", "uvicorn"),
    }
)
"""What is installed only on Linux."""
MODULES = {
    "darwin": frozenset({"_posixshmem"}),
    "win32": frozenset({"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}),
}
"""Of the standard library what those systems lack."""
NAMES: dict[str, dict[Any, tuple[str, ...]]] = {
    "darwin": {
        os: (
            "O_TMPFILE",
            "memfd_create",
            "pidfd_open",
            "setns",
            "unshare",
            "sched_getaffinity",
            "splice",
            "copy_file_range",
        ),
        select: ("epoll",),
    },
    "win32": {
        os: (
            *(
                "O_CLOEXEC",
                "O_DIRECTORY",
                "O_NOFOLLOW",
                "O_NONBLOCK",
                "O_TMPFILE",
                "chown",
                "fchmod",
                "fchown",
                "fork",
                "getegid",
            ),
            *(
                "geteuid",
                "getgid",
                "getpgid",
                "getuid",
                "killpg",
                "memfd_create",
                "mkfifo",
                "pidfd_open",
                "pread",
                "pwrite",
            ),
            *("sched_getaffinity", "setns", "setsid", "statvfs", "sysconf", "uname", "unshare", "waitid"),
        ),
        select: ("epoll", "poll", "PIPE_BUF"),
        signal: (
            "SIGALRM",
            "SIGCHLD",
            "SIGHUP",
            "SIGKILL",
            "SIGPIPE",
            "SIGUSR1",
            "SIGUSR2",
            "pthread_sigmask",
            "sigwait",
        ),
    },
}
"""Names that modules lack there."""
_FIRST = (
    "anyio",
    "anyio._backends._asyncio",
    "click",
    "httpx",
    "pydantic",
    "rich.table",
    "subprocess",
    "typer",
    "websockets.asyncio.client",
)
"""Imported before: what they do on Windows is theirs, and rests on modules that are only there."""


class Hidden:
    """Finds that certain modules are not there."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise `ModuleNotFoundError` for what is hidden."""
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def disguise(system: str) -> None:
    """Make this interpreter look like one on `darwin` or `win32`."""
    for name in _FIRST:
        import_module(name)
    sysconfig.get_config_vars()  # kept from now on: those of the other system are not here
    hidden = PACKAGES | MODULES[system]
    assert not [name for name in sys.modules if name.partition(".")[0] in PACKAGES | {"emberbox"}]
    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        del sys.modules[name]
    sys.meta_path.insert(0, Hidden(hidden))
    for module, names in NAMES[system].items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    if system == "win32":
        for name in ("add_reader", "add_writer", "add_signal_handler", "remove_signal_handler"):
            setattr(asyncio.SelectorEventLoop, name, _not_implemented)
        os.kill = _deadly
    sys.platform = system


def _not_implemented(*_: object) -> NoReturn:
    raise NotImplementedError


def _deadly(*_: object) -> NoReturn:
    raise AssertionError("on Windows this ends the process that is asked after")


def main(words: Sequence[str]) -> int:
    """Run `emberbox ARGUMENT...` (program `emberbox`), or Python code (program `-c`)."""
    system, program, *arguments = words
    disguise(system)
    if program == "-c":
        exec(compile(arguments[0], "<code>", "exec"), {"__name__": "__main__"})  # noqa: S102
        return 0
    from emberbox.cli.main import main as command

    return command(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
