"""Python under gVisor's `runsc` (runsc(1): `do`)."""

from __future__ import annotations

import shutil

from bench.comparators.processes import PYTHON, HostProcess
from emberbox.bench.samplers.base import HELLO, BenchError, Unavailable, time_process

WAYS = tuple(
    (*rootless, f"--platform={platform}")
    for platform in ("systrap", "ptrace")
    for rootless in ((), ("--rootless",))
)
"""Options of runsc for the platforms without hardware virtualization, of which versions know one or
both, as root and rootless."""
TRIALS = 3


def check_runsc() -> None:
    """Raise `Unavailable` where there is no runsc."""
    if shutil.which("runsc") is None:
        raise Unavailable("runsc is not installed (Debian: apt-get install runsc)")


class GVisor(HostProcess):
    """`runsc do`, on the fastest of the platforms that work here.

    Args:
        options: Options of the interpreter.
    """

    def __init__(self, name: str, label: str, options: tuple[str, ...] = ()) -> None:
        super().__init__(name, label, ("runsc",), options)
        self._options = options

    async def open(self) -> None:
        """Try each platform and keep the fastest.

        Raises `Unavailable` when runsc is absent or none of them works.
        """
        check_runsc()
        times: dict[tuple[str, ...], float] = {}
        failures = []
        for way in WAYS:
            argv = ("runsc", *way, "--network=none", "do", PYTHON, *self._options, "-c", HELLO)
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
    """Python that reads no start-up files of the host's, under gVisor.

    That is more than fair: the guest's Python does read its own.
    """
    return GVisor("gvisor_lean", "gVisor (runsc) + python3 -I -S", ("-I", "-S"))
