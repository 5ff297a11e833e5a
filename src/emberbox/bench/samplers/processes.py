"""What else runs a program on this host: gVisor, bubblewrap, and no sandbox at all."""

from __future__ import annotations

import shutil

from emberbox.bench.samplers.base import HELLO, BenchError, Unavailable, time_process

PYTHON = "/usr/bin/python3"
"""The distribution's own interpreter, as in the guest; what PATH holds may be a script that looks for one."""
PLATFORMS = ("systrap", "ptrace")
"""gVisor's platforms without hardware virtualization; versions know one or both."""
TRIALS = 3


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
        self, name: str, label: str, wrapper: tuple[str, ...] = (), options: tuple[str, ...] = (), note: str = ""
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
        "bubblewrap", "bubblewrap + python3 (shares the host's kernel)", (*wrapper, "--unshare-all", "--die-with-parent")
    )


class GVisor(HostProcess):
    """`runsc do`, on the fastest of the platforms that work here.

    Args:
        options: Options of the interpreter.
    """

    def __init__(self, name: str, label: str, options: tuple[str, ...] = ()) -> None:
        super().__init__(name, label, ("runsc",), options)
        self._options = options

    async def open(self) -> None:
        """Try each platform and keep the fastest. Raises `Unavailable` when runsc is absent or none of them works."""
        if shutil.which("runsc") is None:
            raise Unavailable("runsc is not installed (Debian: apt-get install runsc)")
        times: dict[tuple[str, ...], float] = {}
        failures = []
        for platform in PLATFORMS:
            for rootless in ((), ("--rootless",)):
                wrapper = ("runsc", *rootless, f"--platform={platform}", "--network=none", "do")
                argv = (*wrapper, PYTHON, *self._options, "-c", HELLO)
                try:
                    times[argv] = min([await time_process(argv) for _ in range(TRIALS)])
                except BenchError as error:
                    failures.append(str(error))
        if not times:
            raise Unavailable(f"runsc runs nothing here: {failures[-1]}")
        self._argv = min(times, key=lambda argv: times[argv])
        self.note = f"fastest of what works here: {' '.join(self._argv[:-1])}"


def gvisor() -> GVisor:
    """Python as it is on the host, under gVisor."""
    return GVisor("gvisor", "gVisor (runsc) + python3")


def gvisor_lean() -> GVisor:
    """Python that reads no start-up files of the host's, under gVisor: more than fair, the guest's Python does read its own."""
    return GVisor("gvisor_lean", "gVisor (runsc) + python3 -I -S", ("-I", "-S"))
