"""The root folder of one Firecracker process: prepared before the jailer runs, emptied by nobody but us.

Firecracker's jailer makes `<base>/<program>/<id>/root` its new root and gives it to the VMM's uid.
Once all is made that the VMM makes there, and before the guest runs anything of a stranger's, it is
taken back: a VMM that was taken over can then neither rename what lies there nor fill the disk.
What is read back is opened without following links all the same, and looked at first. Source:
Firecracker's docs/jailer.md.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
import subprocess
from pathlib import Path

from emberbox.errors import SnapshotFailed, VmmError
from emberbox.files.descriptors import opened
from emberbox.vmm.process.removal import remove_tree

_log = logging.getLogger(__name__)

OUTPUT = "out"
"""Folder in the jail, the VMM's own, where it writes snapshots."""
_PIPE_BYTES = 1024 * 1024
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, fcntl(2)
_DIG_S = 600.0
_THEIRS = ("dev", "dev/net", "run")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Another file system or subvolume; as many links as it takes; a file that is fixed; a file system
# without links.
_NOT_LINKED = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)


class MachineJail:
    """What one Firecracker process sees as `/`.

    Args:
        run_dir: The machine's folder; must be on the file system of images and templates for their
            files to be linked.
        program: File name of the Firecracker binary.
        machine_id: The jailer's `--id`.

    Attributes:
        uid: uid and gid of the VMM; to be set before anything is made.
        base: The jailer's `--chroot-base-dir`.
        root: The folder itself.
        binds: What could not be linked, as path on the host and path of the place for it: to be
            mounted read-only.
    """

    uid: int

    def __init__(self, run_dir: Path, program: str, machine_id: str) -> None:
        self.base = run_dir.resolve() / "jail"
        self.root = self.base / program / machine_id / "root"
        self.binds: list[tuple[Path, Path]] = []

    def make(self) -> None:
        """Make the empty folder; only root gets to it from outside. Raises `OSError`, also when it exists."""
        self.base.mkdir(mode=0o700)
        self.root.mkdir(mode=0o700, parents=True)
        for name in ("drives", "snapshot", "program"):
            _folder(self.root / name, 0o755)
        output = self.root / OUTPUT
        _folder(output, 0o700)
        os.chown(output, self.uid, self.uid)

    def share(self, source: Path, inside: str) -> None:
        """Let the VMM read the file `source` at the path `inside`.

        Owner and mode stay as they are. A hard link where the file system makes one, else a
        read-only bind mount in the VMM's own mount namespace. A file that not all may read is
        copied, for this VMM alone. Raises `OSError`.
        """
        if not source.stat().st_mode & stat.S_IROTH:
            self._copy(source, inside)
            return
        place = self._place(inside)
        try:
            os.link(source, place)
        except OSError as error:
            if error.errno not in _NOT_LINKED:
                raise
            place.touch(mode=0o400)
            self.binds.append((source.resolve(), place))

    def share_open(self, descriptor: int, source: Path, inside: str) -> None:
        """Let the VMM read the file open on `descriptor`, even one whose path `source` is gone by now."""
        try:
            self.share(source, inside)
        except FileNotFoundError:
            self._copy(Path(f"/proc/self/fd/{descriptor}"), inside)

    def give(self, source: Path, inside: str) -> None:
        """Let the VMM write to the file `source`, which becomes its own.

        Raises `OSError` unless it can be linked.
        """
        os.link(source, self._place(inside))
        os.chown(source, self.uid, self.uid)

    def pipe(self, name: str) -> int:
        """Make a named pipe to which the VMM writes, and return it open for reading; never blocks.

        Raises `OSError`.
        """
        path = self.root / name
        os.mkfifo(path, 0o600)
        os.chown(path, self.uid, self.uid)
        return open_pipe(path)

    def seal(self, *, freezes: bool) -> None:
        """Take back the folders that the jailer gave to the VMM, so that it cannot change them any more.

        Args:
            freezes: Whether the VMM will write a snapshot, to its folder `OUTPUT`, which stays its own.

        Raises `OSError`.
        """
        with opened(self.root, _FOLDER) as root:
            for name in _THEIRS if freezes else (*_THEIRS, OUTPUT):
                with contextlib.suppress(FileNotFoundError), opened(name, _FOLDER, dir_fd=root) as folder:
                    _take_back(folder)
            _take_back(root)

    def take(self, name: str, target: Path, longest: int) -> None:
        """Move the VMM's file `name` in `OUTPUT` to `target`; root owns it from then on.

        The VMM must have ended. Raises `SnapshotFailed` when it is not a file of its own of at most
        `longest` bytes.
        """
        try:
            with opened(self.root, _FOLDER) as root, opened(OUTPUT, _FOLDER, dir_fd=root) as folder:
                self._take(folder, name, target, longest)
        except OSError as error:
            raise SnapshotFailed(
                f"Firecracker's snapshot cannot be taken over: {error.strerror}", detail=str(error)
            ) from error

    def _take(self, folder: int, name: str, target: Path, longest: int) -> None:
        with opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder) as descriptor:
            found = os.fstat(descriptor)
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_nlink != 1
                or found.st_uid != self.uid
                or found.st_size > longest
            ):
                raise SnapshotFailed(
                    f"Firecracker left something else than a snapshot's file as {name}; build the template "
                    "anew"
                )
            try:
                os.rename(name, target, src_dir_fd=folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(f"/proc/self/fd/{descriptor}", target)
        os.chown(target, os.geteuid(), os.getegid())
        target.chmod(0o600)

    def remove(self) -> None:
        """Remove the folder with all in it; files that were shared keep their other links.

        Repeating is harmless.
        """
        if not remove_tree(self.base):
            _log.warning(
                "jail %s cannot be removed",
                self.base,
                extra={"action": "vmm.jail_left", "path": str(self.base)},
            )

    def _place(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def _copy(self, source: Path, inside: str) -> None:
        place = self._place(inside)
        shutil.copyfile(source, place)
        os.chown(place, self.uid, self.uid)
        place.chmod(0o400)


def _take_back(folder: int) -> None:
    os.fchown(folder, 0, 0)
    os.fchmod(folder, 0o755)


def _folder(path: Path, mode: int) -> None:
    path.mkdir()
    path.chmod(mode)  # whatever the umask


def open_pipe(path: Path) -> int:
    """Open a named pipe for reading without waiting for its writer, as large as may be. Raises `OSError`.

    It never comes to its end, since this process could write to it, too.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise VmmError(f"{path.name} is not the pipe that it was", detail=str(path))
    try:
        fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _PIPE_BYTES)
    except OSError:
        _log.debug("pipe %s keeps its size", path, extra={"action": "vmm.pipe"})
    return descriptor


def dig_holes(path: Path) -> None:
    """Give back the pages of `path` that hold zeros alone. Blocks. What cannot be done is passed over."""
    try:
        subprocess.run(
            ["/usr/bin/fallocate", "--dig-holes", str(path)], capture_output=True, timeout=_DIG_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        _log.debug("no holes dug in %s: %s", path, error, extra={"action": "vmm.dig_holes"})
