"""The folder of what lives at run time, and the cleaning up after engines that died.

Each engine holds one numbered folder `<data>/run/<n>/` by a lock on `<data>/run/<n>.lock`, which
the kernel lets go of when the engine ends in whatever way. A folder whose lock is free belongs to
nobody: what it names is killed and removed. Lock files stay, so that two engines can never hold the
same number through different files.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING

from emberbox.bounds import MACHINES
from emberbox.errors import CapacityExhausted, NoSpace, RequirementMissing
from emberbox.files.disk import is_full
from emberbox.files.locks import Lock, try_lock
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.process.leftovers import end_marked, kill_leftovers
from emberbox.vmm.process.removal import remove_tree
from emberbox.vmm.recorded import RECORD
from emberbox.vmm.registry import marks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sized
    from pathlib import Path

_log = logging.getLogger(__name__)

ENGINES = 100
"""Engines at once on one data folder."""
SLOTS = MACHINES
"""Machines at once of one engine."""
STARTING_S = 1.0
"""How long a machine that was just being started may take to show itself."""


async def end_leftovers(folder: Path) -> list[int]:
    """End every machine that has a folder in `folder`, and return the pids of what still ran.

    The engine of that folder must be gone. Takes a second longer where the engine was killed while it
    started a machine.
    """
    ended = await kill_leftovers(marks(), folder)
    names = [name for name in os.listdir(folder) if "-" in name]
    prefixes = sorted({f"{name.rpartition('-')[0]}-" for name in names})
    ended += await _end_marked(prefixes)
    if any(not (folder / name / RECORD).exists() for name in names):
        # A process that was forked off, and let go of the engine's lock, is not recognized until it
        # runs its own program.
        deadline = time.monotonic() + STARTING_S
        while time.monotonic() < deadline:
            await asyncio.sleep(STARTING_S / 10)
            ended += await _end_marked(prefixes)
    groups = Cgroups()
    for prefix in prefixes:
        await groups.sweep(prefix)
    return ended


async def _end_marked(prefixes: list[str]) -> list[int]:
    return [pid for prefix in prefixes for pid in await end_marked(marks(), prefix)]


class RunFolder:
    """One engine's folder of live machines.

    Attributes:
        path: The folder; private to the owner.
        number: Its number, below `ENGINES`; machines of this engine use the slots from `number * SLOTS`.
    """

    def __init__(self, path: Path, number: int, lock: Lock) -> None:
        self.path = path
        self.number = number
        self._lock = lock

    @classmethod
    async def claim(cls, root: Path, kill: Callable[[Path], Awaitable[Sized]] = end_leftovers) -> RunFolder:
        """Take the first free number and clean up after every engine that died.

        Args:
            root: `<data>/run`; made when missing.
            kill: Ends what the machines that a dead engine's folder names left; returns what was ended.

        Raises:
            CapacityExhausted: `ENGINES` engines live already.
            NoSpace: The folder cannot be made for want of space.
            RequirementMissing: The folder cannot be written.
        """
        try:
            root.mkdir(mode=0o755, parents=True, exist_ok=True)
            held = _lock_free(root)
            if not held:
                raise CapacityExhausted(
                    f"{ENGINES} engines use the data folder already; end one, or use another",
                    detail=str(root),
                )
            for number, _ in held:
                await _clean(root / str(number), kill)
            number, lock = held[0]
            for _, other in held[1:]:
                other.release()
            path = root / str(number)
            path.mkdir(mode=0o700)
        except OSError as error:
            raise _explain(root, error) from error
        return cls(path, number, lock)

    def make(self, machine_id: str) -> Path:
        """Make a machine's folder. Raises `NoSpace` when the disk is full."""
        folder = self.path / machine_id
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise _explain(folder, error) from error
        return folder

    def release(self) -> None:
        """Remove the folder and let go of the number. Repeating is harmless."""
        if self._lock.fileno() >= 0:
            remove_tree(self.path)
            self._lock.release()


def _lock_free(root: Path) -> list[tuple[int, Lock]]:
    """Lock every number that nobody holds, or a new one where all are held; returns them, lowest first."""
    known = sorted(int(file.stem) for file in root.glob("*.lock") if file.stem.isdecimal())
    held = [(number, lock) for number in known if (lock := try_lock(root / f"{number}.lock")) is not None]
    for number in range(ENGINES):
        if held:
            break
        if number not in known and (lock := try_lock(root / f"{number}.lock")) is not None:
            held.append((number, lock))
    return held


async def _clean(folder: Path, kill: Callable[[Path], Awaitable[Sized]]) -> None:
    if folder.exists():
        killed = len(await kill(folder))
        remove_tree(folder)
        _log.info(
            "cleaned up %s after an engine that died; %d machines ended",
            folder,
            killed,
            extra={"action": "engine.reconcile"},
        )


def _explain(path: Path, error: OSError) -> Exception:
    if is_full(error):
        return NoSpace(
            "no space left in the data folder; free some or set EMBERBOX_DATA to a folder on another disk",
            detail=str(path),
        )
    return RequirementMissing(
        f"the data folder cannot be used ({error.strerror}); set EMBERBOX_DATA to one that you may write to",
        detail=str(error.filename or path),
    )
