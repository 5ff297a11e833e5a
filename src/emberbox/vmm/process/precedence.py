"""The processor before all others, for one VMM at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.vmm.process.cgroup import Cgroup

_TIMES = 100.0
"""How much more of a busy processor than another its holder gets: all that it can use."""


class Precedence:
    """Lets one group have the processor first while its guest does what must not be kept waiting.

    One at a time, for a moment: whoever asks for many such guests does not so take the host from others.
    """

    def __init__(self) -> None:
        self._holder: Cgroup | None = None

    def give(self, group: Cgroup) -> bool:
        """Let `group` have it until `end`; False, and nothing happens, while another has it."""
        if self._holder is not None:
            return False
        self._holder = group
        group.weigh(_TIMES)
        return True

    def end(self, group: Cgroup) -> None:
        """Let `group` have no more than others. Harmless for one that does not have it."""
        if self._holder is group:
            self._holder = None
            group.weigh(1)
