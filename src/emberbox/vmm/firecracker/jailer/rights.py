"""Tells whether the jailer may make device nodes, and act as root though bubblewrap starts it.

Tried, not concluded from lists: a service manager's unit, a container, a security module and a
mount each take such rights away in a way of its own, and the jailer would find out only at each
machine's start.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

from emberbox.errors import RequirementMissing
from emberbox.vmm.process.confinement import BUBBLEWRAP, SETPRIV

NAMESPACES = ("--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
"""bubblewrap's arguments by which the jailer sees the whole host, but for its processes."""
RIGHTS = ("--cap-add", "ALL", "--new-session", "--chdir", "/")
"""bubblewrap's arguments by which the jailer keeps root's rights; it gives them up with its uid."""
# What the jailer makes and changes: folders and devices with their owners, mounts and namespaces, its uid.
_NEEDED = ("chown", "dac_override", "fowner", "mknod", "setuid", "setgid", "setpcap", "sys_admin")
LIMITED = (
    *(str(SETPRIV), f"--inh-caps=-all,{','.join(f'+{name}' for name in _NEEDED)}", "--"),
    *(str(SETPRIV), "--bounding-set=-all", "--"),
)
"""The jailer's only rights, taken from the inheritable set: a VMM's bounding set is empty.

Two steps, since what is inherited must be within the bounding set when it is named."""
_DEVICES = {"kvm": (10, 232), "tun": (10, 200), "urandom": (1, 9)}
_MISC = Path("/proc/misc")
_MISC_MAJOR = 10
_PROFILE = Path("/etc/apparmor.d/bwrap-userns-restrict")
_TRY_S = 10.0


def check_rights(folder: Path, uid: int) -> None:
    """Try what the jailer does. Blocks for some milliseconds; leaves nothing. Raises `RequirementMissing`.

    Args:
        folder: On the file system of the jails; made when missing.
        uid: One of the VMMs' uids.
    """
    _try_devices(folder)
    _try_acting(uid)


def _try_devices(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="trying-", dir=folder) as place:
            for name, (major, minor) in {**_DEVICES, **_faults()}.items():
                os.mknod(Path(place) / name, stat.S_IFCHR | 0o600, os.makedev(major, minor))
    except OSError as error:
        raise RequirementMissing(
            f"Firecracker's jailer cannot make device nodes in {folder} ({error.strerror}): the service's "
            "unit, or the container, must allow the capability MKNOD and the devices of "
            "docs/firecracker.md with 'm'",
            detail=str(error),
        ) from error


def _faults() -> dict[str, tuple[int, int]]:
    """Return the device that the jailer makes only where the kernel has it."""
    lines = [line.split() for line in _MISC.read_text().splitlines()]
    return {name: (_MISC_MAJOR, int(minor)) for minor, name in lines if name == "userfaultfd"}


def _try_acting(uid: int) -> None:
    change = (str(SETPRIV), "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--", "/bin/true")
    command = [str(BUBBLEWRAP), *NAMESPACES, *RIGHTS, "--", *LIMITED, *change]
    try:
        tried = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TRY_S, check=False, env={}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RequirementMissing("bubblewrap does not start programs here", detail=str(error)) from error
    if tried.returncode:
        raise _taken_away(tried.stderr.strip())


def _taken_away(said: str) -> RequirementMissing:
    message = (
        "what bubblewrap starts has not the rights of root here, which Firecracker's jailer needs "
        f"({said[:200]})"
    )
    if not _PROFILE.exists():
        return RequirementMissing(message, detail=said)
    return RequirementMissing(
        f"{message}; the likely reason is AppArmor's profile for bubblewrap",
        mend=f"ln -s {_PROFILE} /etc/apparmor.d/disable/ && apparmor_parser -R {_PROFILE}",
        detail=said,
    )
