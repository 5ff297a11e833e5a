"""The users of VMMs: numbers of which each belongs to one machine of the host at a time.

Engines with different data folders, in different processes, take them from one folder of the host:
a file with a user's number is locked (flock(2)) for as long as a machine has it. The kernel lets go
of the lock with the process, so a file that is there and not locked is that of a machine whose
starter died: its number is taken again only once no process has it, and the machine's control group
is empty. The numbers go round, so that one is used again as late as can be.

An ordinary user needs none: all of its VMMs keep its own number, whatever engine they are of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.bounds import UID_COUNT
from emberbox.errors import RequirementMissing, VmmStartFailed
from emberbox.files.locks import Lock, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.vmm.process.cgroup import Cgroups

_log = logging.getLogger(__name__)

FOLDER = Path("/run/emberbox/users")
"""Where all engines of this host note who has which. Gone with a restart, as all machines are."""
_PROC = Path("/proc")
_NAME_BYTES = 256


class VmmUser:
    """A uid, and gid, that one machine has. Made by `VmmUsers`."""

    def __init__(self, users: VmmUsers, uid: int, machine_id: str, lock: Lock) -> None:
        self.uid = uid
        self._users = users
        self._machine_id = machine_id
        self._lock = lock

    async def release(self) -> None:
        """Give the number back, once the machine has ended. Repeating is harmless.

        One that something still runs as stays taken, for others to see to.
        """
        if self._lock.fileno() < 0:
            return
        if await asyncio.to_thread(self._users.in_use, self.uid, self._machine_id):
            facts = {"action": "vmm.user_left", "uid": self.uid, "machine": self._machine_id}
            _log.warning("something still runs as user %d of a VMM that has ended", self.uid, extra=facts)
        else:
            self._users.path(self.uid).unlink(missing_ok=True)
        self._lock.release()


class VmmUsers:
    """The numbers that VMMs of this host can have. For root.

    Args:
        base: The first one.
        count: How many; the first is no machine's.
        cgroups: Where machines' groups are; None where none can be had.
        folder: Where it is noted who has which.
    """

    def __init__(
        self, base: int, cgroups: Cgroups | None, *, count: int = UID_COUNT, folder: Path = FOLDER
    ) -> None:
        self._first = base + 1
        self._count = count - 1
        self._cgroups = cgroups
        self._folder = folder
        # Engines that start together do not try the same numbers in turn.
        self._next = secrets.randbelow(self._count)

    def prepare(self) -> None:
        """Make the folder, and clear it of what killed engines left. Blocks. Raises `RequirementMissing`."""
        try:
            self._folder.parent.mkdir(mode=0o755, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._folder.stat().st_uid != os.geteuid():
                raise PermissionError(0, "it is somebody else's")
            for path in self._folder.iterdir():
                if path.name.isdecimal():
                    self._clear(path)
        except OSError as error:
            raise RequirementMissing(
                "the folder where all engines of this host note which user a VMM has cannot be used "
                f"({error.strerror})",
                mend=f"mkdir -p -m 700 {self._folder}",
                detail=str(error),
            ) from error

    def _clear(self, path: Path) -> None:
        lock = None
        with contextlib.suppress(FileNotFoundError):
            lock = try_lock(path, make=False)
        if lock is not None:
            with lock:
                if not self.in_use(int(path.name), _read(lock)):
                    path.unlink()

    def path(self, uid: int) -> Path:
        """Return the file that is locked while a machine has this number."""
        return self._folder / str(uid)

    def take(self, machine_id: str) -> VmmUser:
        """Take a number that nobody has. Looks at the host's processes: some milliseconds.

        Raises:
            VmmStartFailed: All are taken.
            OSError: The folder cannot be used.
        """
        seen = set(_owners())
        for _ in range(self._count):
            uid = self._first + self._next
            self._next = (self._next + 1) % self._count
            lock = None if uid in seen else try_lock(self.path(uid))
            if lock is None:
                continue
            if (last := _read(lock)) and self.in_use(uid, last):
                lock.release()
                continue
            return self._taken(uid, machine_id, lock)
        raise VmmStartFailed(
            f"all {self._count} users from {self._first} on have a VMM: end some, or move vmm.uid_base"
        )

    def hold(self, pid: int, machine_id: str) -> tuple[int | None, VmmUser | None]:
        """Take the number that the running VMM `pid` has: it was another process that started it.

        Returns:
            The number, None when that has ended; and what gives it back, None where it is none of
            these numbers, or still held by that process.

        Raises:
            OSError: The folder cannot be used.
        """
        uid = next(iter(_uids(pid)), None)
        if uid is None or not self._first <= uid < self._first + self._count:
            return uid, None
        lock = try_lock(self.path(uid))
        return uid, None if lock is None else self._taken(uid, machine_id, lock)

    def in_use(self, uid: int, machine_id: str) -> bool:
        """Tell whether a process has this number, or the machine that had it last has one in its group."""
        if any(uid in _uids(int(entry.name)) for entry in _processes()):
            return True
        return self._cgroups is not None and self._cgroups.occupied(machine_id)

    def _taken(self, uid: int, machine_id: str, lock: Lock) -> VmmUser:
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), machine_id.encode(), 0)
        return VmmUser(self, uid, machine_id, lock)


def _read(lock: Lock) -> str:
    return os.pread(lock.fileno(), _NAME_BYTES, 0).decode("ascii", "replace")


def _processes() -> Iterator[os.DirEntry[str]]:
    with os.scandir(_PROC) as entries:
        yield from (entry for entry in entries if entry.name.isdecimal())


def _owners() -> Iterator[int]:
    """Yield who owns each process, as far as its folder tells: quick, but root where it is not dumpable."""
    for entry in _processes():
        with contextlib.suppress(OSError):
            yield entry.stat().st_uid


def _uids(pid: int) -> frozenset[int]:
    """Return all user numbers of a process (proc(5), `status`); empty when it is gone."""
    try:
        status = (_PROC / str(pid) / "status").read_bytes()
    except OSError:
        return frozenset()
    line = next((line for line in status.splitlines() if line.startswith(b"Uid:")), b"Uid:")
    return frozenset(map(int, line.split()[1:]))
