"""What is kept of machines that ended badly, so that somebody can look for the cause afterwards.

`<data>/ended/<machine>/` holds `machine.json`, and the ends of the guest's `console` and of the
VMM's `log`. All of it is bounded: the number of machines, their age, and the bytes of each. Any
number of engines may share the folder.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from emberbox.vmm.process.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

TEXT_BYTES = 65_536
"""The most that is kept of a console, and of a log: their ends."""
_ASIDE = ".new-"
_ABANDONED_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEntry:
    """A machine that lives, or one that ended badly.

    Args:
        id: Its name; never used again.
        runtime: The runtime's name.
        driver: The VMM's driver.
        source: `clone`, `cold`, or `template` for one that was booted to be frozen.
        vcpus: Virtual CPUs.
        memory_mib: Guest memory in MiB.
        state: As `MachineState` tells; `exited` for all that have ended.
        started_at: Unix time in seconds.
        pid: Host pid of the VMM; None before it runs and after it has ended.
        ended_at: Unix time in seconds; None while it lives.
        reason: Why it ended, for people; None while nothing is wrong with it.
    """

    id: str
    runtime: str
    driver: str
    source: str
    vcpus: int
    memory_mib: int
    state: str
    started_at: float
    pid: int | None = None
    ended_at: float | None = None
    reason: str | None = None


class KeptMachines:
    """The folder of what is kept.

    A disk that is full, or a folder that cannot be written, keeps nothing and is no error.

    Args:
        root: `<data>/ended`; made when needed, for its owner alone.
        count: Machines that are kept at most; 0 for none.
        age_s: What is older is removed.
    """

    def __init__(self, root: Path, *, count: int, age_s: float) -> None:
        self._root = root
        self._count = count
        self._age_s = age_s

    def add(self, entry: MachineEntry, console: str, log: str) -> None:
        """Keep a machine, in place of the oldest where there is no room."""
        if self._count == 0:
            return
        aside = self._root / f"{_ASIDE}{secrets.token_hex(8)}"
        try:
            aside.mkdir(mode=0o700, parents=True)
            self._root.chmod(0o700)
            for name, text in (
                ("machine.json", json.dumps(asdict(entry))),
                ("console", console),
                ("log", log),
            ):
                _write(aside / name, text)
            aside.rename(self._root / entry.id)
        except OSError as error:
            remove_tree(aside)
            _log.warning(
                "nothing is kept of machine %s: %s", entry.id, error, extra={"action": "machine.not_kept"}
            )
        self.clean()

    def clean(self) -> None:
        """Remove what is beyond the bounds, and what a killed process left half-written."""
        kept = self.entries()
        oldest = time.time() - self._age_s
        for entry in kept[self._count :] + [entry for entry in kept[: self._count] if _ended(entry) < oldest]:
            remove_tree(self._root / entry.id)
        known = {entry.id for entry in kept}
        for name in self._names():
            path = self._root / name
            if name not in known and _age_s(path) > _ABANDONED_S:
                remove_tree(path)

    def entries(self) -> list[MachineEntry]:
        """Return what is kept, the latest end first."""
        found = [
            entry
            for name in self._names()
            if not name.startswith(".") and (entry := self._read(name)) is not None
        ]
        return sorted(found, key=lambda entry: (_ended(entry), entry.id), reverse=True)

    def text(self, machine_id: str, name: str) -> str | None:
        """Return the end of a kept machine's `console`, or of its VMM's `log`; None where it is not kept."""
        # By what is in the folder, and not by a path that a caller made up.
        if machine_id.startswith(".") or machine_id not in self._names():
            return None
        try:
            with (self._root / machine_id / name).open("rb") as file:
                return file.read(4 * TEXT_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._root)
        except OSError:
            return []

    def _read(self, name: str) -> MachineEntry | None:
        try:
            entry = MachineEntry(**json.loads((self._root / name / "machine.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return entry if entry.id == name else None


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)


def _ended(entry: MachineEntry) -> float:
    return entry.ended_at or entry.started_at


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
