"""`emberbox setup --vmm`: installs a VMM that the distribution does not package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.cli.failures import say
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.vmm.kind import Install, InstallWish


def check_vmm(name: str | None, wish: InstallWish) -> None:
    """Raise `InvalidInput` for what does not go together.

    Args:
        name: The VMM to install; None for none.
        wish: How, as it was typed.
    """
    names = " or ".join(_installers())
    if name is None and (wish.version, wish.file, wish.sha256) != (None, None, None):
        raise InvalidInput(f"--version, --from and --sha256 go with --vmm {names}")
    if name is not None and name not in _installers():
        others = "what packages bring, `emberbox setup` installs by itself"
        raise InvalidInput(f"--vmm takes {names}, not {name!r}; {others}")
    if wish.sha256 is not None and wish.file is None:
        raise InvalidInput("--sha256 goes with --from FILE; what is fetched is held to the published hash")


async def install_vmm(settings: Settings, name: str, wish: InstallWish) -> None:
    """Install a VMM below the data folder as a checked `wish` says. Raises as `DriverKind.install`."""
    from emberbox.cli.progress import ShownProgress
    from emberbox.vmm.registry import folder_of

    with ShownProgress(name) as progress:
        told = await _installers()[name](folder_of(settings.data), wish, progress.step)
    for line in told:
        say(line)


def _installers() -> dict[str, Install]:
    """Return what installs each VMM that no package brings, by the driver's name."""
    from emberbox.vmm.registry import kinds

    return {name: kind.install for name, kind in kinds().items() if kind.install is not None}
