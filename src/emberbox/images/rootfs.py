"""A runtime's root filesystem: packages installed by mmdebstrap, pruned, and written as one ext4 file."""

from __future__ import annotations

import asyncio
import functools
import os
import pwd
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images import apt
from emberbox.images.ext4 import Owner, make_ext4
from emberbox.images.guest_files import add_guest_files, copy_files
from emberbox.images.process import run_tool
from emberbox.images.requirements import find_program
from emberbox.images.threads import in_thread
from emberbox.images.tree import unpack

if TYPE_CHECKING:
    import threading

    from emberbox.images.packages import Package
    from emberbox.images.progress import Progress
    from emberbox.images.recipe import Recipe

_INSTALL_S = 1800.0
_OWN_USERS = 65_536


@dataclass(frozen=True, slots=True)
class RootFilesystem:
    """A built root filesystem and what is installed in it."""

    path: Path
    packages: tuple[Package, ...]


async def build_rootfs(recipe: Recipe, suite: str, architecture: str, folder: Path, progress: Progress) -> RootFilesystem:
    """Build a runtime's root filesystem as `rootfs.ext4` in `folder`.

    Args:
        recipe: Packages, files and what to remove.
        suite: Debian release.
        architecture: `amd64` or `arm64`.
        folder: An empty folder, which the caller removes.
        progress: Takes what the tools print.

    Raises:
        RequirementMissing: The host lacks a program or a right.
        ImageBuildFailed: A step failed; the detail holds the tool's last output.
        NoSpace: The disk is full.
    """
    archive = folder / "root.tar"
    await _install(recipe, suite, architecture, archive, folder, progress)
    root = folder / "root"
    owners, packages = await in_thread(functools.partial(_prepare, archive, root, recipe))
    archive.unlink()
    image = folder / "rootfs.ext4"
    await make_ext4(root, image, owners)
    await asyncio.to_thread(shutil.rmtree, root)
    return RootFilesystem(image, packages)


async def _install(recipe: Recipe, suite: str, architecture: str, archive: Path, folder: Path, progress: Progress) -> None:
    program = find_program("mmdebstrap")
    sources = await apt.debian_sources(suite) if apt.is_debian() else ()
    if apt.is_debian() and not sources:
        raise RequirementMissing("apt has no package lists of Debian itself", mend="sudo apt-get update")
    argv = [program, *_mode(), "--variant=essential", "--format=tar", f"--architectures={architecture}"]
    argv += [f"--include={','.join(recipe.packages)}"] if recipe.packages else []
    argv += [f"--aptopt={option}" for option in await apt.acquire_options()]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")]
    # Packages with alternatives, such as Java's, fail to install where there is no folder for the links of their manuals.
    argv.append('--essential-hook=mkdir -p "$1"/usr/share/man/man1')
    argv += [suite, str(archive)]
    if sources:
        # As a file: mmdebstrap pastes an existing file's content, whatever it holds.
        listing = folder / "sources.list"
        listing.write_text("".join(f"{source.line()}\n" for source in sources), encoding="utf-8")
        argv.append(str(listing))
    scratch = folder / "scratch"
    scratch.mkdir()
    # mmdebstrap's inner user writes here in unshare mode.
    scratch.chmod(0o1777)
    progress.log(" ".join(argv[1:]))
    what = f"install the packages of the runtime {recipe.name!r}"
    try:
        await run_tool(
            [*_bound_to_this_process(), *argv],
            what=what, timeout_s=_INSTALL_S, env={"TMPDIR": str(scratch)}, on_line=progress.log,
        )  # fmt: skip
    except ImageBuildFailed as error:
        if missing := missing_packages(error.detail or ""):
            named = ", ".join(f"{name}{_line_of(name, recipe.manifest)}" for name in missing)
            raise ImageBuildFailed(
                f"could not {what}: Debian {suite} has no package {named}; mend image.packages in its manifest",
                detail=error.detail,
            ) from error
        raise


def missing_packages(output: str) -> list[str]:
    """Return the names of the packages that apt says it does not have, sorted."""
    found = re.findall(r"Unable to locate package (\S+)|Package '(\S+)' has no installation candidate", output)
    return sorted({first or second for first, second in found})


def _line_of(name: str, manifest: Path | None) -> str:
    """Return where a manifest names a package, in parentheses; empty where it does not, or cannot be read."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines() if manifest is not None else []
    except (OSError, UnicodeDecodeError):
        return ""
    quoted = (f'"{name}"', f"'{name}'")
    numbers = [number for number, line in enumerate(lines, 1) if any(text in line for text in quoted)]
    # Of a folder that was linked to, its own path is the one that a person knows.
    return f" ({manifest.resolve()}, line {numbers[0]})" if numbers and manifest is not None else ""


def _mode() -> list[str]:
    if os.geteuid() == 0:
        return ["--mode=root"]
    check_subordinate_users()
    return ["--mode=unshare"]


def _bound_to_this_process() -> list[str]:
    """A build's processes and mounts end with the builder, even when that is killed.

    As root they live in namespaces of their own, whose end takes them along; in unshare mode mmdebstrap makes such itself.
    """
    setpriv = find_program("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig=TERM", "--"]
    unshare = [find_program("unshare"), "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--"]
    return [setpriv, "--pdeathsig=KILL", "--", *unshare]


def check_subordinate_users(subuid: Path = Path("/etc/subuid"), subgid: Path = Path("/etc/subgid")) -> None:
    """Raise `RequirementMissing` where this user may not use the user numbers that an unprivileged build needs."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    names = {user, str(os.geteuid())}
    for file in (subuid, subgid):
        if not _has_range(file, names):
            raise RequirementMissing(
                f"the user {user} has no subordinate user numbers in {file}; "
                f"building images without root needs {_OWN_USERS} of them",
                mend=f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user} (or build as root)",
            )
    if shutil.which("newuidmap") is None:
        raise RequirementMissing(
            "the program 'newuidmap' is missing; building images without root needs it", mend="sudo apt-get install uidmap"
        )


def _has_range(file: Path, names: set[str]) -> bool:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    ranges = [line.split(":") for line in lines if line.count(":") == 2]
    return any(name in names and count.isdigit() and int(count) >= _OWN_USERS for name, _, count in ranges)


def _prepare(archive: Path, root: Path, recipe: Recipe, stop: threading.Event) -> tuple[dict[str, Owner], tuple[Package, ...]]:
    unpacked = unpack(archive, root, recipe.packages, recipe.remove, stop)
    owners = dict(unpacked.owners)
    for folder in recipe.files:
        for name in copy_files(folder, root):
            owners.pop(name, None)
    owners |= add_guest_files(root, 0, recipe.user)
    return owners, unpacked.packages
