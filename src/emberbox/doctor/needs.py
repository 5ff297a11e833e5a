"""All that this user and this host lack to build images and run VMs, asked for at once.

That is packages, and subordinate numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from emberbox.images import BuildNeeds, build_needs
from emberbox.images.tools.requirements import which
from emberbox.vmm.process.confinement import PACKAGES
from emberbox.vmm.registry import kinds


@dataclass(frozen=True, slots=True)
class Needs:
    """What is missing.

    Args:
        running: Debian packages that VMs need, sorted.
        building: What building images needs.
    """

    running: tuple[str, ...] = ()
    building: BuildNeeds = field(default_factory=BuildNeeds)

    @property
    def packages(self) -> list[str]:
        """All Debian packages, sorted."""
        return sorted({*self.running, *(requirement.package for requirement in self.building.programs)})

    @property
    def nothing(self) -> bool:
        """Whether all is there."""
        return not self.packages and not self.building.files

    def problem(self) -> str:
        """Return all of it in words, for people."""
        packages = f"these packages are missing: {' '.join(self.packages)}" if self.packages else None
        numbers = BuildNeeds(files=self.building.files).problem()
        return "; ".join(part for part in (packages, numbers) if part)

    def mend(self, *, as_root: bool | None = None) -> str | None:
        """Return the one line that mends all of it; None when nothing is missing.

        Args:
            as_root: Whether we are root; None to look.
        """
        return self.building.mend(*self.running, as_root=as_root)


def look_for_needs() -> Needs:
    """Look at what is there. Costs some looks at the file system."""
    machine = os.uname().machine
    programs = dict(PACKAGES)
    for kind in kinds().values():
        programs |= kind.packages(machine)
    missing = {package for program, package in programs.items() if which(program) is None}
    return Needs(tuple(sorted(missing)), build_needs())
