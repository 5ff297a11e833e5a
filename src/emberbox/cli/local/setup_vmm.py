"""`emberbox setup --vmm`: installs a VMM that the distribution does not package."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.cli import exit_codes
from emberbox.cli.failures import say
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import Settings
    from emberbox.vmm.kind import Install


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
        names = " or ".join(_installers())
        if self.vmm is None and (self.version, self.file, self.sha256) != (None, None, None):
            raise InvalidInput(f"--version, --from and --sha256 go with --vmm {names}")
        if self.vmm is not None and self.vmm not in _installers():
            others = "what packages bring, `emberbox setup` installs by itself"
            raise InvalidInput(f"--vmm takes {names}, not {self.vmm!r}; {others}")
        if self.sha256 is not None and self.file is None:
            raise InvalidInput(
                "--sha256 goes with --from FILE; what is fetched is held to the published hash"
            )


async def install_vmm(settings: Settings, wish: Wish) -> int:
    """Install what `wish` says, which was checked, below the data folder. Raises as `DriverKind.install`."""
    from emberbox.cli.progress import ShownProgress
    from emberbox.vmm.kind import InstallWish
    from emberbox.vmm.registry import folder_of

    name = str(wish.vmm)
    ordered = InstallWish(version=wish.version, file=wish.file, sha256=wish.sha256, environment=os.environ)
    with ShownProgress(name) as progress:
        told = await _installers()[name](folder_of(settings.data), ordered, progress.step)
    for line in told:
        say(line)
    return exit_codes.OK


def _installers() -> dict[str, Install]:
    """Return what installs each VMM that no package brings, by the driver's name."""
    from emberbox.vmm.registry import kinds

    return {name: kind.install for name, kind in kinds().items() if kind.install is not None}
