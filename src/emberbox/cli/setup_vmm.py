"""`emberbox setup --vmm`: installs a VMM that the distribution does not package."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.cli import exit_codes
from emberbox.cli.failures import say
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.vmm.firecracker.install.sources import Source

_ARCHIVE = re.compile(r"firecracker-v([0-9.]+)-\w+\.tgz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be installed, as it was typed.

    Args:
        vmm: Name of the VMM; None for none.
        version: Its version; None for the one in the file's name, else the usual one.
        file: A file that holds it; None to fetch it.
        sha256: The file's hash; None to look beside it.
    """

    vmm: str | None
    version: str | None
    file: Path | None
    sha256: str | None

    def check(self) -> None:
        """Raise `InvalidInput` for what does not go together."""
        if self.vmm is None and (self.version, self.file, self.sha256) != (None, None, None):
            raise InvalidInput("--version, --from and --sha256 go with --vmm firecracker")
        if self.vmm not in (None, "firecracker"):
            raise InvalidInput(
                f"--vmm takes firecracker, not {self.vmm!r}; QEMU is a package that `emberbox setup` installs by itself"
            )
        if self.sha256 is not None and self.file is None:
            raise InvalidInput("--sha256 goes with --from FILE; what is fetched is held to the published hash")


async def install_vmm(settings: Settings, wish: Wish) -> int:
    """Install what `wish` says below the data folder. Raises as `emberbox.vmm.firecracker.install.installation.install`."""
    from emberbox.cli.progress import ShownProgress
    from emberbox.vmm.firecracker.install.installation import install
    from emberbox.vmm.firecracker.install.release import DEFAULT_VERSION, find_release

    named = None if wish.file is None else _ARCHIVE.fullmatch(wish.file.name)
    version = wish.version or (DEFAULT_VERSION if named is None else named[1])
    release = find_release(version, os.uname().machine)
    with ShownProgress("firecracker") as progress:
        found = await install(settings.data / "vmm/firecracker", release, _source(wish), progress.step)
    say(f"Firecracker {found.version} is at {found.firecracker.parent}. `emberbox doctor` tells whether it can be used here")
    if os.geteuid() != 0:
        say("it is yours, not root's: Firecracker needs root, and root does not run it from there. Use sudo emberbox setup")
    return exit_codes.OK


def _source(wish: Wish) -> Source:
    from emberbox.vmm.firecracker.install.release import RELEASES, RELEASES_VARIABLE
    from emberbox.vmm.firecracker.install.sources import PublishedRelease, ReleaseFile

    if wish.file is not None:
        return ReleaseFile(wish.file, wish.sha256)
    return PublishedRelease(os.environ.get(RELEASES_VARIABLE) or RELEASES)
