"""The folder that a confined VMM sees as `/`: its program and libraries, and no other host file.

Made once for each VMM binary and shared read-only by all machines. Copies, so that a package
upgrade never changes a binary under a live machine or under a template that was made by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import VmmStartFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)

_EMPTY_FOLDERS = ("proc", "dev", "etc", "tmp")
_LIST_S = 20.0


@dataclass(frozen=True, slots=True)
class JailFiles:
    """What goes into a jail root, each at its own path.

    Args:
        programs: Executables; the libraries they need come along.
        plugins: Shared objects loaded at run time; the libraries they need come along.
        data: Other files.
        mount_points: Where device nodes are mounted later; empty files, since nothing can be made
            in a read-only root.
    """

    programs: tuple[Path, ...]
    plugins: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    mount_points: tuple[Path, ...] = ()

    def key(self) -> str:
        """Return a short hash of the files' paths, sizes and times of change, and of the mount points."""
        lines = []
        for path in (*self.programs, *self.plugins, *self.data):
            status = path.stat()
            lines.append(f"{path}\0{status.st_size}\0{status.st_mtime_ns}")
        lines += map(str, self.mount_points)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def jail_root(parent: Path, files: JailFiles) -> Path:
    """Return the jail root for `files` under `parent`, made if it is missing.

    Blocks for up to a second when it is made. Safe when several processes do it at once, and when
    one is killed over it: built aside, then renamed. Raises `VmmStartFailed`.
    """
    root = parent / f"jail-{files.key()}"
    if root.is_dir():
        return root
    parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="making-jail-", dir=parent))
    try:
        _fill(aside, files)
        aside.chmod(0o755)
        with contextlib.suppress(OSError):
            aside.rename(root)
    except OSError as error:
        raise VmmStartFailed(
            f"the VMM's jail cannot be made in the data folder: {error.strerror or type(error).__name__}",
            detail=str(error),
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if not root.is_dir():
        raise VmmStartFailed("the VMM's jail cannot be made; is the data folder writable?", detail=str(root))
    _log.info("jail root made", extra={"action": "vmm.jail_made", "path": str(root)})
    return root


def libraries(objects: Iterable[Path]) -> set[Path]:
    """Return the paths of all shared libraries (and the loader) that the ELF files `objects` need.

    Raises `VmmStartFailed` when one is not found. The files are trusted: ldd may run their loader.
    """
    found: set[Path] = set()
    for path in objects:
        listed = subprocess.run(
            ["/usr/bin/ldd", str(path)], capture_output=True, text=True, timeout=_LIST_S, check=False
        )
        for line in listed.stdout.splitlines():
            name, _, rest = line.strip().partition(" => ")
            target = (rest or name).split(" (")[0].strip()
            if target == "not found":
                raise VmmStartFailed(
                    f"{path.name} needs the library {name}, which this host does not have", detail=str(path)
                )
            if target.startswith("/"):
                found.add(Path(target))
    return found


def _fill(root: Path, files: JailFiles) -> None:
    for name in _EMPTY_FOLDERS:
        (root / name).mkdir()
    objects = (*files.programs, *files.plugins)
    for path in {*objects, *files.data, *libraries(objects)}:
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o644 if path in files.data else 0o755)
    for path in files.mount_points:
        place = root / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(0o644)
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)
    _cache_libraries(root)


def _cache_libraries(root: Path) -> None:
    # Spares the loader a search through its folders for some fifty libraries at each start.
    if (ldconfig := shutil.which("ldconfig", path="/sbin:/usr/sbin")) is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [ldconfig, "-X", "-r", str(root)], capture_output=True, timeout=_LIST_S, check=False
            )
