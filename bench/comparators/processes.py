"""A program as a process of this host: under bubblewrap, and without a sandbox."""

from __future__ import annotations

import shutil

from emberbox.bench.samplers.base import HELLO, BenchError, Unavailable, time_process

PYTHON = "/usr/bin/python3"
"""The distribution's own interpreter, as in the guest; what PATH holds may be a script that looks for one."""


class HostProcess:
    """A process on the host, from its start to its end.

    Args:
        name: Stable, for programs.
        label: For people.
        wrapper: What is put before the interpreter; empty for nothing.
        options: Options of the interpreter.
        note: How it is measured.
    """

    def __init__(
        self,
        name: str,
        label: str,
        wrapper: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        note: str = "",
    ) -> None:
        self.name = name
        self.label = label
        self.note = note or f"{PYTHON}, process start to end, output read"
        self._wrapper = wrapper
        self._argv = (*wrapper, PYTHON, *options, "-c", HELLO)

    async def open(self) -> None:
        """Run once."""
        if shutil.which(PYTHON) is None:
            raise Unavailable(f"no {PYTHON}")
        if self._wrapper and shutil.which(self._wrapper[0]) is None:
            raise Unavailable(f"{self._wrapper[0]} is not installed")
        try:
            await self.sample()
        except BenchError as error:
            raise Unavailable(str(error)) from error

    async def sample(self) -> float:
        """Run once, in milliseconds."""
        return await time_process(self._argv)

    async def close(self) -> None:
        """Nothing to do."""


def bare_python() -> HostProcess:
    """Python without a sandbox."""
    return HostProcess("process", "python3 on the host, no sandbox")


def bubblewrap() -> HostProcess:
    """Python in namespaces of its own, on the host's kernel."""
    wrapper = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp")  # noqa: S108
    return HostProcess(
        "bubblewrap",
        "bubblewrap + python3 (shares the host's kernel)",
        (*wrapper, "--unshare-all", "--die-with-parent"),
    )
