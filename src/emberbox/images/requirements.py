"""The programs that building an image needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from emberbox.errors import RequirementMissing

_ADMINISTRATOR_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program that must be on the host.

    Args:
        program: Its name.
        package: The Debian package that holds it.
        why: What it is for, in a few words.
    """

    program: str
    package: str
    why: str

    def find(self) -> str | None:
        """Return the program's path, or None. Looks into the administrator's folders too, which a user's PATH may lack."""
        return shutil.which(self.program) or shutil.which(self.program, path=_ADMINISTRATOR_FOLDERS)


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("mmdebstrap", "mmdebstrap", "installs a runtime's packages into a folder"),
    Requirement("apt-get", "apt", "downloads the guest's kernel"),
    Requirement("apt-config", "apt", "tells how to reach the host's package sources"),
    Requirement("apt-cache", "apt", "finds the guest's kernel"),
    Requirement("dpkg-deb", "dpkg", "unpacks the guest's kernel"),
    Requirement("lz4", "lz4", "unpacks the guest's kernel"),
    Requirement("mke2fs", "e2fsprogs", "makes root filesystems"),
    Requirement("debugfs", "e2fsprogs", "sets owners in root filesystems"),
    Requirement("setpriv", "util-linux", "ends a build's processes with its builder"),
    Requirement("unshare", "util-linux", "keeps mounts of a build to itself"),
)
"""What `ImageStore.build` needs on the host."""


IMPORT_REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("skopeo", "skopeo", "copies images from registries, layouts and archives"),
    Requirement("zstd", "zstd", "unpacks layers of images"),
)
"""What importing an image needs besides; nothing else does."""


def missing_requirements() -> tuple[Requirement, ...]:
    """Return the requirements that this host does not meet."""
    return tuple(requirement for requirement in REQUIREMENTS if requirement.find() is None)


def find_program(program: str) -> str:
    """Return the path of a required program; raises `RequirementMissing` with the command that installs it."""
    requirement = next(
        (known for known in (*REQUIREMENTS, *IMPORT_REQUIREMENTS) if known.program == program),
        Requirement(program, program, "builds images"),
    )
    path = requirement.find()
    if path is None:
        raise RequirementMissing(
            f"the program {program!r} is missing; it {requirement.why}", mend=f"sudo apt-get install {requirement.package}"
        )
    return path


def check_requirements() -> None:
    """Raise `RequirementMissing` that names all missing programs at once and the command that installs them."""
    missing = missing_requirements()
    if missing:
        names = ", ".join(f"{requirement.program} ({requirement.why})" for requirement in missing)
        packages = " ".join(sorted({requirement.package for requirement in missing}))
        raise RequirementMissing(
            f"building images needs programs that are missing: {names}", mend=f"sudo apt-get install {packages}"
        )
