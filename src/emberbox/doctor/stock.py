"""Checks of the data folder, and of what is built in it and what building needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Level, install_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emberbox.images import Requirement

LITTLE_BYTES = 4 * 1024**3
TOO_LITTLE_BYTES = 512 * 1024**2
_NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def check_data_folder(path: Path, problem: str | None, free_bytes: int, file_system: str) -> Finding:
    """Judge the data folder.

    Args:
        path: Where it is or will be.
        problem: Why it cannot be written; None when it can.
        free_bytes: Space left to this user.
        file_system: The kernel's name of its type.
    """
    found = f"{path}: {free_bytes / 1e9:,.1f} GB free on {file_system}"
    if problem is not None:
        return _data(Level.MISSING, f"{path}: {problem}", "Nothing can be stored.", "export EMBERBOX_DATA=$HOME/emberbox-data")
    if free_bytes < TOO_LITTLE_BYTES:
        return _data(Level.MISSING, found, "Too little for an image and a template; free some, or set EMBERBOX_DATA.")
    if free_bytes < LITTLE_BYTES:
        return _data(Level.WARNING, found, "An image takes up to 0.5 GB, a template as much as its VM's memory.")
    if file_system in _NETWORKED:
        return _data(Level.WARNING, found, "Over a network, VMs start slowly; set EMBERBOX_DATA to a folder on a local disk.")
    if file_system in _IN_MEMORY:
        return _data(Level.WARNING, found, "It is kept in memory: images take room from VMs, and are gone after a restart.")
    return _data(Level.OK, found, None)


def _data(level: Level, found: str, follows: str | None, mend: str | None = None) -> Finding:
    return Finding(key="data", title="Data folder", level=level, found=found, follows=follows, mend=mend)


def check_build_tools(missing: Sequence[Requirement], *, images_built: bool) -> Finding:
    """Judge the programs that build images.

    Args:
        missing: Those that are not there.
        images_built: Whether every runtime has its image already; then they are not needed to run programs.
    """
    if not missing:
        return Finding(key="build_tools", title="Build tools", level=Level.OK, found="all there")
    return Finding(
        key="build_tools",
        title="Build tools",
        level=Level.WARNING if images_built else Level.MISSING,
        found="; ".join(f"{requirement.program} is not installed ({requirement.why})" for requirement in missing),
        follows="No further images can be built." if images_built else "The images that are not built yet cannot be built.",
        mend=install_command(*(requirement.package for requirement in missing)),
    )


def check_build_rights(*, as_root: bool, problem: str | None, mend: str | None) -> Finding:
    """Judge whether this user may build images.

    Args:
        as_root: Root may.
        problem: What another user lacks; None when nothing.
        mend: The command that mends that.
    """
    if as_root or problem is None:
        found = "as root" if as_root else "subordinate user numbers are there"
        return Finding(key="build_rights", title="Build rights", level=Level.OK, found=found)
    follows = "This user cannot build images; those that are there can be used."
    return Finding(key="build_rights", title="Build rights", level=Level.WARNING, found=problem, follows=follows, mend=mend)


def check_agent(path: Path, size: int | None) -> Finding:
    """Judge the guest agent's binary; `size` in bytes is None when it is missing."""
    if size is not None:
        return Finding(key="agent", title="Guest agent", level=Level.OK, found=f"{size / 1e6:.1f} MB, static")
    return Finding(
        key="agent", title="Guest agent", level=Level.MISSING, found=f"{path} is missing",
        follows="No image can be built or used.", mend="python hatch_build.py || pip install --force-reinstall emberbox",
    )  # fmt: skip


def check_images(built: Sequence[str], unbuilt: Sequence[str]) -> Finding:
    """Judge the images: names of the runtimes with and without one."""
    if not built and not unbuilt:
        return Finding(key="images", title="Images", level=Level.MISSING, found="there are no runtimes at all")
    later = f"; at their first use: {', '.join(unbuilt)}" if unbuilt else ""
    if built:
        return Finding(key="images", title="Images", level=Level.OK, found=f"built: {', '.join(built)}{later}")
    follows = "The first run of a runtime builds its image, which takes a minute or more."
    return Finding(
        key="images", title="Images", level=Level.WARNING, found="none is built yet", follows=follows, mend="emberbox setup"
    )


def check_templates(runtimes: Sequence[str], stored_bytes: int) -> Finding:
    """Judge the templates: for which runtimes there are any, and what they take on disk."""
    if not runtimes:
        return Finding(
            key="templates", title="Templates", level=Level.WARNING, found="none yet",
            follows="The first run of a runtime makes one, which takes seconds.", mend="emberbox setup",
        )  # fmt: skip
    names = ", ".join(sorted(set(runtimes)))
    return Finding(
        key="templates", title="Templates", level=Level.OK, found=f"{len(runtimes)} ({names}), {stored_bytes / 1e6:,.0f} MB"
    )
