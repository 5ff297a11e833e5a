"""The numbers of further users for one who is not root: an image's files have several owners.

Sources: subuid(5), newuidmap(1), and mmdebstrap(1) about its mode `unshare`.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.files.paths import text_of

COUNT = 65_536
"""How many an unprivileged build needs."""
FIRST = 100_000
"""Where such ranges begin on Debian."""
_VMMS = range(UID_BASE, UID_BASE + UID_COUNT)
"""What belongs to VMMs by default (`vmm.uid_base`)."""
_SUBUID = Path("/etc/subuid")
_SUBGID = Path("/etc/subgid")


def user_name() -> str:
    """Return this user's name; its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def files_without_range(subuid: Path = _SUBUID, subgid: Path = _SUBGID) -> tuple[Path, ...]:
    """Return which of the two files give this user no range of `COUNT` numbers."""
    names = {user_name(), str(os.geteuid())}
    return tuple(
        file
        for file in (subuid, subgid)
        if not any(name in names and n >= COUNT for name, _, n in _ranges(file))
    )


def grant_command(files: tuple[Path, ...], *, taken: tuple[Path, ...] = (_SUBUID, _SUBGID)) -> str | None:
    """Return root's command that gives this user a free range in each file that gives it none.

    None where this user has no account, which alone can be given a range.

    Args:
        files: What `files_without_range` returned; not empty.
        taken: The files whose ranges are left alone.
    """
    if user_name().isdecimal():
        return None
    first = _free(taken)
    span = f"{first}-{first + COUNT - 1}"
    options = [f"--add-{'subgids' if file.name == 'subgid' else 'subuids'} {span}" for file in files]
    return f"usermod {' '.join(options)} {user_name()}"


def _ranges(file: Path) -> list[tuple[str, int, int]]:
    fields = [line.strip().split(":") for line in text_of(file).splitlines()]
    return [(f[0], int(f[1]), int(f[2])) for f in fields if len(f) == 3 and f[1].isdigit() and f[2].isdigit()]


def _free(files: tuple[Path, ...]) -> int:
    ends = [first + count for file in files for _, first, count in _ranges(file)]
    first = max([FIRST, *ends])
    return _VMMS.stop if first < _VMMS.stop and _VMMS.start < first + COUNT else first
