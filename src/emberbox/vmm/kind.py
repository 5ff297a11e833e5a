"""What is known of a driver before there is one. Its folder brings it: `KIND`, in its module `kind`.

Such a module is read at each start of an engine, whichever driver is used: it imports next to nothing, and
the driver itself only in the functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.vmm.base import Driver, DriverReport
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.process.marks import Mark

    Make = Callable[[VmmSettings, Path, GuestKernel | None], Driver]
    Install = Callable[[Path, "InstallWish", Callable[[str, float | None], None]], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallWish:
    """Which release of a VMM is to be installed, and from where.

    Args:
        version: Its version; None for the one that the file's name tells, else the usual one.
        file: A file that holds it; None to fetch it.
        sha256: The file's hash as hex; None to look beside the file.
        environment: Variables that may name another place to fetch it from.
    """

    version: str | None
    file: Path | None
    sha256: str | None
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverKind:
    """A driver that could be used. `folder` is always `<data>/vmm`, where drivers keep what they prepare.

    Args:
        title: Its name for people.
        mark: By which its VMMs are known among the host's processes.
        serial: Address of the first serial port of its machines on aarch64, where a tiny kernel writes to it.
        make: Makes it from the settings, `folder`, and the kernel that guests boot, None where it is unknown.
            Does nothing on the host yet.
        absence: Says why it need not even be probed; None when it may be usable. Costs a few looks at files.
        lacks: Says all that is missing at once, where a probe stops at the first, for people; runs nothing.
        packages: By the host's architecture, the programs that distributions bring for it, and Debian's
            package of each. A driver that has none is judged by its probe.
        merit: What it does better than those after it, as the rest of a sentence; None for nothing.
        needs_kvm: Whether it runs on KVM alone.
        install: Installs its VMM below `folder`, as a wish says, and returns what to tell people; None where
            packages bring it. Tells what is being done, and the share of it that is. Raises `InvalidInput`,
            `RequirementMissing`, `NoSpace` and `OSError`.
    """

    title: str
    mark: Mark
    serial: int
    make: Make
    absence: Callable[[VmmSettings, Path], DriverReport | None] = lambda settings, folder: None
    lacks: Callable[[VmmSettings, Path], Sequence[str]] = lambda settings, folder: ()
    packages: Callable[[str], Mapping[str, str]] = lambda architecture: {}
    merit: str | None = None
    needs_kvm: bool = False
    install: Install | None = None
