"""Checks of the data folder, and of what is built in it and what building needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import Row, install_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emberbox.doctor.finding import Finding
    from emberbox.images import Requirement

AGENT = Row("agent", "Guest agent")
IMAGES = Row("images", "Images")
TEMPLATES = Row("templates", "Templates")
LITTLE_BYTES = 4 * 1024**3
TOO_LITTLE_BYTES = 512 * 1024**2
_NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_LISTED = 5


def check_data_folder(path: Path, problem: str | None, free_bytes: int, file_system: str) -> Finding:
    """Judge the data folder.

    Args:
        path: Where it is or will be.
        problem: Why it cannot be written; None when it can.
        free_bytes: Space left to this user.
        file_system: The kernel's name of its type.
    """
    row = Row("data", "Data folder")
    found = f"{path}: {free_bytes / 1e9:,.1f} GB free on {file_system}"
    if problem is not None:
        mend = "export EMBERBOX_DATA=$HOME/emberbox-data"
        return row.missing(f"{path}: {problem}", "Nothing can be stored.", mend)
    if free_bytes < TOO_LITTLE_BYTES:
        return row.missing(found, "Too little for an image and a template; free some, or set EMBERBOX_DATA.")
    if free_bytes < LITTLE_BYTES:
        return row.warning(found, "An image takes up to 0.5 GB, a template as much as its VM's memory.")
    if file_system in _NETWORKED:
        follows = "Over a network, VMs start slowly; set EMBERBOX_DATA to a folder on a local disk."
        return row.warning(found, follows)
    if file_system in _IN_MEMORY:
        follows = "It is kept in memory: images take room from VMs, and are gone after a restart."
        return row.warning(found, follows)
    return row.ok(found)


def check_build_tools(
    missing: Sequence[Requirement], broken: Sequence[Requirement], *, images_built: bool
) -> Finding:
    """Judge the programs that build images.

    Args:
        missing: Those that are not there.
        broken: Those that are there and do not run.
        images_built: Whether some runtime has its image already; then they are not needed to run
            its programs.
    """
    row = Row("build_tools", "Build tools")
    if not missing and not broken:
        return row.ok("all there, and each runs")
    told = [f"{requirement.program} is not installed ({requirement.why})" for requirement in missing]
    told += [f"{requirement.program} does not run ({requirement.why})" for requirement in broken]
    again = ["--reinstall"] if broken else []
    mend = install_command(*again, *(requirement.package for requirement in (*missing, *broken)))
    return _unbuildable(row, "; ".join(told), mend, images_built=images_built)


def _unbuildable(row: Row, found: str, mend: str | None, *, images_built: bool) -> Finding:
    if images_built:
        return row.warning(found, "No further images can be built.", mend)
    return row.missing(found, "No image can be built, and there is none yet.", mend)


def check_build_rights(problem: str | None, mend: str | None, *, images_built: bool) -> Finding:
    """Judge whether this user may build images.

    Args:
        problem: Why what building takes could not be done; None when it was.
        mend: The command that mends that.
        images_built: Whether some runtime has its image already; without one, nothing can be run.
    """
    row = Row("build_rights", "Build rights")
    if problem is None:
        return row.ok("tried: files of several users, and a mount")
    if images_built:
        follows = "This user cannot build images; those that are there can be used."
        return row.warning(problem, follows, mend)
    follows = "This user cannot build images, and there is none yet: no program can be run."
    return row.missing(problem, follows, mend)


def check_package_lists(problem: str | None, mend: str | None, *, images_built: bool) -> Finding:
    """Judge whether apt knows what images are made of; arguments as for `check_build_rights`."""
    row = Row("package_lists", "Package lists")
    if problem is None:
        return row.ok("apt knows Debian's packages")
    return _unbuildable(row, problem, mend, images_built=images_built)


def check_agent(path: Path, size: int | None, problem: str | None) -> Finding:
    """Judge the guest agent's binary.

    Args:
        path: Where it is or should be.
        size: In bytes; None when it is missing.
        problem: Why it cannot be an agent; None when it can.
    """
    if size is not None and problem is None:
        return AGENT.ok(f"{size / 1e6:.1f} MB, static")
    return AGENT.missing(
        f"{path} {problem or 'is missing'}",
        "No image can be built or used.",
        "python hatch_build.py || pip install --force-reinstall emberbox",
    )


def check_images(built: Sequence[str], unbuilt: Sequence[str]) -> Finding:
    """Judge the images: names of the runtimes with and without one."""
    if not built and not unbuilt:
        return IMAGES.missing("there are no runtimes at all")
    later = f"; at their first use: {_listed(unbuilt)}" if unbuilt else ""
    if built:
        return IMAGES.ok(f"built: {', '.join(built)}{later}")
    follows = "The first run of a runtime builds its image, which takes a minute or more."
    return IMAGES.warning("none is built yet", follows, "emberbox setup")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _LISTED else f"{len(names)} others (emberbox runtimes)"


def check_templates(runtimes: Sequence[str], stored_bytes: int, *, others: int = 0) -> Finding:
    """Judge the templates.

    Args:
        runtimes: Of each that fits the VMM, the runtime.
        stored_bytes: What all of them take on disk.
        others: How many were made by another VMM, or another version of it.
    """
    more = f"; {others} of another VMM, or another version, are not used" if others else ""
    if not runtimes:
        follows = "The first run of a runtime makes one, which takes seconds."
        return TEMPLATES.warning(f"none yet{more}", follows, "emberbox setup")
    names = ", ".join(sorted(set(runtimes)))
    return TEMPLATES.ok(f"{len(runtimes)} ({names}), {stored_bytes / 1e6:,.0f} MB{more}")
