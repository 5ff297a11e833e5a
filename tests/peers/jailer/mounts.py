"""The peer's own mounts in a jail: all that a Python VMM with a QEMU needs to run there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.peers.jailer import linux

_PEERS = Path(__file__).resolve().parent.parent
_REPOSITORY = _PEERS.parent.parent
_PROGRAMS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero")
_SMALL = "size=64m,mode=1777"


def mount_all(root: Path) -> None:
    """Mount it below `root`, in this process' mount namespace. Raises `OSError`."""
    # The VMM is neither owner nor group of these folders, and must pass through them whatever the
    # mask of who started us.
    mask = os.umask(0o022)
    try:
        _mount_all(root)
    finally:
        os.umask(mask)


def _mount_all(root: Path) -> None:
    # Ahead of what may lie below them, such as a checkout of the repository.
    for folder in ("/tmp", "/dev/shm"):
        place = _place(root, Path(folder))
        place.mkdir(exist_ok=True)
        linux.mount("tmpfs", str(place), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _SMALL)
    for path in sources():
        _offer(root, path)
    for device in _DEVICES:
        place = _place(root, Path(device))
        place.touch()
        linux.mount(device, str(place), None, linux.MS_BIND)
    _place(root, Path("/proc")).mkdir(exist_ok=True)


def mount_proc() -> None:
    """Mount /proc of the PID namespace of this process; the root was changed before. Raises `OSError`."""
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def sources() -> list[Path]:
    """Return what is mounted read-only, at the same path as outside; links stay links."""
    wanted = [Path(name) for name in _PROGRAMS]
    wanted += [Path(sys.base_prefix), _PEERS, _REPOSITORY / "src" / "emberbox" / "vmm"]
    found: list[Path] = []
    for path in wanted:
        if (path.exists() or path.is_symlink()) and not any(path.is_relative_to(one) for one in found):
            found.append(path)
    return found


def _offer(root: Path, path: Path) -> None:
    place = _place(root, path)
    if path.is_symlink():
        if not place.is_symlink():
            place.symlink_to(path.readlink())
        return
    if path.is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    linux.mount(str(path), str(place), None, linux.MS_BIND | linux.MS_REC)
    linux.mount(
        "none", str(place), None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID
    )


def _place(root: Path, path: Path) -> Path:
    place = root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place
