"""The programs that building an image needs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from emberbox.errors import RequirementMissing
from emberbox.images.tools.subordinate import COUNT, files_without_range, grant_command, user_name

_ADMINISTRATOR_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program, or a file, that must be on the host.

    Args:
        program: Its name.
        package: The Debian package that holds it.
        why: What it is for, in a few words.
        files: Where it is no program but a file: the paths that it may have.
    """

    program: str
    package: str
    why: str
    files: tuple[str, ...] = ()

    def find(self) -> str | None:
        """Return its path, or None."""
        if self.files:
            return next((path for path in self.files if Path(path).is_file()), None)
        return which(self.program)


def which(program: str) -> str | None:
    """Return a program's path, or None.

    Looks into the administrator's folders too, which a user's PATH may lack.
    """
    return shutil.which(program) or shutil.which(program, path=_ADMINISTRATOR_FOLDERS)


KEYRING = Requirement(
    "debian-archive-keyring",
    "debian-archive-keyring",
    "vouches for Debian's packages, of all releases",
    files=(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "/usr/share/keyrings/debian-archive-keyring.pgp",
    ),
)
"""The keys of all of Debian's releases of its time, and of the next one."""

REQUIREMENTS: tuple[Requirement, ...] = (
    KEYRING,
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

UIDMAP = Requirement("newuidmap", "uidmap", "lets a user build images without root")
"""What it needs besides where we are not root."""

IMPORT_REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("skopeo", "skopeo", "copies images from registries, layouts and archives"),
    Requirement("zstd", "zstd", "unpacks layers of images"),
)
"""What importing an image needs besides; nothing else does."""


@dataclass(frozen=True, slots=True)
class BuildNeeds:
    """What this user lacks to build images.

    Args:
        programs: Programs that are not there.
        files: Those of /etc/subuid and /etc/subgid that give this user no numbers; none where it is root.
    """

    programs: tuple[Requirement, ...] = ()
    files: tuple[Path, ...] = ()

    def problem(self) -> str | None:
        """Return all of it in words; None when nothing is missing."""
        parts = []
        if self.programs:
            names = ", ".join(f"{requirement.program} ({requirement.why})" for requirement in self.programs)
            parts.append(f"building images needs what is missing here: {names}")
        if self.files:
            where = " and ".join(str(file) for file in self.files)
            parts.append(
                f"the user {user_name()} has no subordinate user numbers in {where}; "
                f"building images without root needs {COUNT} of them"
            )
        return "; ".join(parts) or None

    def mend(self, *packages: str, as_root: bool | None = None) -> str | None:
        """Return the one line that mends all of it; None when nothing is missing.

        Args:
            packages: Debian packages to install besides.
            as_root: Whether we are root; None to look.
        """
        sudo = "" if (os.geteuid() == 0 if as_root is None else as_root) else "sudo "
        wanted = sorted({*packages, *(requirement.package for requirement in self.programs)})
        lines = [f"{sudo}apt-get install -y {' '.join(wanted)}"] if wanted else []
        if self.files and (grant := grant_command(self.files)) is not None:
            lines.append(f"{sudo}{grant}")
        return " && ".join(lines) or None


def missing_requirements() -> tuple[Requirement, ...]:
    """Return the programs that building images needs and this host does not have."""
    wanted = REQUIREMENTS if os.geteuid() == 0 else (*REQUIREMENTS, UIDMAP)
    return tuple(requirement for requirement in wanted if requirement.find() is None)


def build_needs() -> BuildNeeds:
    """Look at all that building images needs. Costs a few looks at the file system."""
    return BuildNeeds(missing_requirements(), () if os.geteuid() == 0 else files_without_range())


def find_program(program: str) -> str:
    """Return a required program's path; raises `RequirementMissing` with the installing command."""
    requirement = next(
        (known for known in (*REQUIREMENTS, *IMPORT_REQUIREMENTS) if known.program == program),
        Requirement(program, program, "builds images"),
    )
    path = requirement.find()
    if path is None:
        raise RequirementMissing(
            f"the program {program!r} is missing; it {requirement.why}",
            mend=f"sudo apt-get install {requirement.package}",
        )
    return path


def check_requirements() -> None:
    """Raise `RequirementMissing` that names all that is missing at once, and the one line that mends it."""
    needs = build_needs()
    problem = needs.problem()
    if problem is not None:
        raise RequirementMissing(problem, mend=needs.mend())
