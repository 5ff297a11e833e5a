"""The jail itself: a root of its own, its folders and its devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tests.peers.jailer import linux
from tests.peers.jailer.arguments import JailerError
from tests.peers.jailer.mounts import mount_all

_FOLDERS = ("/", "/dev", "/dev/net", "/run")
_DEVICES = {"/dev/net/tun": (10, 200), "/dev/kvm": (10, 232), "/dev/urandom": (1, 9)}
_FAULTS = "/dev/userfaultfd"
_MISC_MAJOR = 10
_OLD = "old_root"


def userfaultfd_minor() -> int | None:
    """Return the minor number of /dev/userfaultfd on this host; None where its kernel has none.

    Ask before `change_root`.
    """
    for line in Path("/proc/misc").read_text().splitlines():
        minor, name = line.split()
        if name == "userfaultfd":
            return int(minor)
    return None


def copy_program(source: Path, target: Path, uid: int, gid: int) -> None:
    """Copy the program into the jail, through our umask, where no link may lie already.

    Raises `JailerError`.
    """
    try:
        mode = source.stat().st_mode & 0o7777
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        raise JailerError(f"Failed to open {error.filename}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as copy:
        if os.fstat(descriptor).st_nlink > 1:
            raise JailerError(f"{target} is a hard link")
        os.fchown(descriptor, uid, gid)
        copy.write(source.read_bytes())


def change_root(root: Path) -> None:
    """Make `root` the root of this process, in a mount namespace of its own that keeps nothing of the old.

    Raises `OSError`.
    """
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", None, linux.MS_SLAVE | linux.MS_REC)
    linux.mount(str(root), str(root), None, linux.MS_BIND | linux.MS_REC)
    mount_all(root)
    os.chdir(root)
    Path(_OLD).mkdir(0o600)
    linux.pivot_root(".", _OLD)
    os.chdir("/")
    linux.unmount(_OLD, linux.MNT_DETACH)
    Path(_OLD).rmdir()


def make_folders(uid: int, gid: int) -> None:
    """Make the folders that the VMM may use, and hand over those alone. Raises `OSError`."""
    for folder in _FOLDERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder).chmod(0o700)
        os.chown(folder, uid, gid)


def make_devices(uid: int, gid: int, faults_minor: int | None) -> None:
    """Make the device nodes.

    Raises `JailerError` where one exists: the id was used before and not cleaned.
    """
    wanted = dict(_DEVICES)
    if faults_minor is not None:
        wanted[_FAULTS] = (_MISC_MAJOR, faults_minor)
    for path, (major, minor) in wanted.items():
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(major, minor))
        except OSError as error:
            raise JailerError(
                f"Failed to create {path} via mknod inside the jail: {error.strerror}"
            ) from error
        os.chown(path, uid, gid)


def write_pid(path: str, pid: int) -> None:
    """Write the pid file. Raises `JailerError` where it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise JailerError(f"Failed to open file {path}: {error.strerror}") from error
    try:
        os.write(descriptor, str(pid).encode())
    finally:
        os.close(descriptor)
