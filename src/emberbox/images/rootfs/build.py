"""A runtime's root filesystem: packages installed by mmdebstrap, pruned, and written as one ext4 file."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed
from emberbox.files.paths import text_of
from emberbox.images.debian.suites import find_suite, meaning
from emberbox.images.rootfs.ext4 import Owner, make_ext4
from emberbox.images.rootfs.guest_files import add_guest_files, copy_files
from emberbox.images.rootfs.libraries import libraries_in
from emberbox.images.rootfs.tree import unpack
from emberbox.images.tools.process import in_thread, run_tool
from emberbox.images.tools.requirements import find_program
from emberbox.images.tools.scratch import scratch_folder

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    from emberbox.images.debian.packages import Package
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.recipe import BuildableRuntime

_INSTALL_S = 1800.0


@dataclass(frozen=True, slots=True)
class RootFilesystem:
    """A built root filesystem and what is installed in it: Debian's packages, and those of languages."""

    path: Path
    packages: tuple[Package, ...]
    libraries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


async def build_rootfs(
    runtime: BuildableRuntime, architecture: str, folder: Path, progress: Progress
) -> RootFilesystem:
    """Build a runtime's root filesystem as `rootfs.ext4` in `folder`.

    Args:
        runtime: Names the release, packages, files and what to remove.
        architecture: `amd64` or `arm64`.
        folder: An empty folder, which the caller removes.
        progress: Takes what the tools print.

    Raises:
        RequirementMissing: The host lacks a program or a right, or nobody on it vouches for that release.
        ImageBuildFailed: A step failed; the detail holds the tool's last output.
        NoSpace: The disk is full.
    """
    archive = folder / "root.tar"
    await _install(runtime, architecture, archive, folder, progress)
    root = folder / "root"
    owners, built = await in_thread(functools.partial(_prepare, archive, root, runtime))
    archive.unlink()
    image = folder / "rootfs.ext4"
    await make_ext4(root, image, owners)
    await asyncio.to_thread(shutil.rmtree, root)
    return replace(built, path=image)


async def _install(
    runtime: BuildableRuntime, architecture: str, archive: Path, folder: Path, progress: Progress
) -> None:
    program = find_program("mmdebstrap")
    suite = await find_suite(runtime.image.suite, folder)
    as_root = os.geteuid() == 0
    mode = "--mode=root" if as_root else "--mode=unshare"
    argv = [program, mode, "--variant=essential", "--format=tar", f"--architectures={architecture}"]
    argv += [f"--include={','.join(runtime.image.packages)}"] if runtime.image.packages else []
    argv += [f"--aptopt={option}" for option in suite.options]
    argv += [
        f"--dpkgopt=path-exclude={pattern}"
        for pattern in ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")
    ]
    # Packages with alternatives, such as Java's, fail to install where there is no folder for the
    # links of their manuals.
    argv.append('--essential-hook=mkdir -p "$1"/usr/share/man/man1')
    # As a file: mmdebstrap pastes an existing file's content, whatever it holds.
    listing = folder / "sources.list"
    listing.write_text(suite.listing, encoding="utf-8")
    argv += [suite.name, str(archive), str(listing)]
    progress.log(" ".join(argv[1:]))
    what = f"install the packages of the runtime {runtime.name!r}"
    try:
        async with scratch_folder(folder, as_root=as_root) as scratch:
            await run_tool(
                [*bound_to_this_process(), *argv],
                what=what,
                timeout_s=_INSTALL_S,
                env={"TMPDIR": str(scratch)},
                on_line=progress.log,
            )
    except ImageBuildFailed as error:
        if missing := missing_packages(error.detail or ""):
            named = ", ".join(f"{name}{_line_of(name, runtime.manifest)}" for name in missing)
            raise ImageBuildFailed(
                f"could not {what}: Debian {suite.name} has no package {named}; mend image.packages in its "
                "manifest",
                detail=error.detail,
            ) from error
        if (meant := meaning(error, suite.name)) is not None:
            raise meant from error
        raise


def missing_packages(output: str) -> list[str]:
    """Return the names of the packages that apt says it does not have, sorted."""
    found = re.findall(
        r"Unable to locate package (\S+)|Package '(\S+)' has no installation candidate", output
    )
    return sorted({first or second for first, second in found})


def _line_of(name: str, manifest: Path) -> str:
    """Return where a manifest names a package, in parentheses; empty where it does not, or cannot be read."""
    quoted, lines = (f'"{name}"', f"'{name}'"), text_of(manifest).splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if any(text in line for text in quoted)]
    # Of a folder that was linked to, its own path is the one that a person knows.
    return f" ({manifest.resolve()}, line {numbers[0]})" if numbers else ""


def bound_to_this_process() -> list[str]:
    """Return the command's prefix by which a build ends with its builder, even a killed one.

    As root they live in namespaces of their own, whose end takes them along; in unshare mode
    mmdebstrap makes such itself.
    """
    setpriv = find_program("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig=TERM", "--"]
    unshare = ("--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--")
    return [setpriv, "--pdeathsig=KILL", "--", find_program("unshare"), *unshare]


def _prepare(
    archive: Path, root: Path, runtime: BuildableRuntime, stop: threading.Event
) -> tuple[dict[str, Owner], RootFilesystem]:
    unpacked = unpack(archive, root, runtime.image.packages, runtime.image.remove, stop)
    owners = dict(unpacked.owners)
    for folder in runtime.image.files:
        for name in copy_files(folder, root):
            owners.pop(name, None)
    owners |= add_guest_files(root, runtime.image.user)
    return owners, RootFilesystem(root, unpacked.packages, libraries_in(root))
