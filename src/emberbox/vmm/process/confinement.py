"""Shuts a VMM in: bubblewrap's arguments, and resource limits set before the guest runs.

Inside are: a jail root and nothing else of the host's files, own mount, PID, network, IPC, UTS and
control-group namespaces, an unprivileged uid of its own for each machine, no capability, no way to
gain one. Seccomp is the VMM's own (`-sandbox` of QEMU).
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

BUBBLEWRAP = Path("/usr/bin/bwrap")
SETPRIV = Path("/usr/bin/setpriv")
PACKAGES = {"bwrap": "bubblewrap", "setpriv": "util-linux"}
"""The programs that shut VMMs in, and Debian's package of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node that one VMM may use.

    Args:
        source: The node on the host.
        target: Where the VMM sees it; the jail root has an empty file there.
        group: The group by which its uid may open the node; None where that takes none.
    """

    source: Path
    target: Path
    group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Where one VMM is shut in.

    Args:
        root: The jail root.
        uid: Its uid and gid where we are root; ignored otherwise, when it keeps ours in a user namespace.
        devices: What it may use of the host's devices, such as /dev/kvm.
        die_with_parent: Whether it ends with the process that started it. bubblewrap's init dies
            then, and the kernel ends all in its PID namespace with it; a parent-death signal for
            the VMM itself would be refused, since its uid is another.
    """

    root: Path
    uid: int
    devices: tuple[Device, ...] = ()
    die_with_parent: bool = True


def wrap(
    cell: Cell, command: list[str], info_fd: int, block_fd: int, *, as_root: bool | None = None
) -> list[str]:
    """Return the arguments that run `command` (a path inside the jail, and its arguments) in `cell`.

    Args:
        cell: Where to.
        command: What runs inside.
        info_fd: An inherited descriptor to which bubblewrap writes JSON with the `child-pid`.
        block_fd: An inherited descriptor from which bubblewrap reads a byte before it starts `command`.
        as_root: Whether we are root; None to look.
    """
    rootly = os.geteuid() == 0 if as_root is None else as_root
    arguments = [
        str(BUBBLEWRAP),
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    arguments += ["--ro-bind", str(cell.root), "/", "--proc", "/proc"]
    for device in cell.devices:
        arguments += ["--dev-bind", str(device.source), str(device.target)]
    arguments += [
        "--clearenv",
        "--new-session",
        "--info-fd",
        str(info_fd),
        "--block-fd",
        str(block_fd),
        "--hostname",
        "emberbox",
        "--chdir",
        "/",
    ]
    if cell.die_with_parent:
        arguments.append("--die-with-parent")
    if not rootly:
        return [*arguments, "--unshare-user", "--cap-drop", "ALL", "--", *command]
    arguments += ["--cap-drop", "ALL"]
    for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
        arguments += ["--cap-add", capability]
    return [*arguments, "--", *_without_rights(cell), *command]


def _without_rights(cell: Cell) -> list[str]:
    groups = sorted({device.group for device in cell.devices if device.group is not None})
    arguments = [str(SETPRIV), "--reuid", str(cell.uid), "--regid", str(cell.uid)]
    arguments += ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    arguments += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    return [*arguments, "--"]


def limit(pid: int, *, file_bytes: int, processes: int | None) -> None:
    """Set the resource limits of the VMM `pid` from outside, while bubblewrap still holds it back.

    Raises `OSError`.
    Once it has changed its uid, only a process with CAP_SYS_RESOURCE could.

    Args:
        pid: Host pid of the VMM.
        file_bytes: Length to which it may write a file (its console log, its error output; a writable drive).
        processes: Threads of its uid; None where that uid is shared.
    """
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
    }
    if processes is not None:
        limits[resource.RLIMIT_NPROC] = processes
    for name, value in limits.items():
        resource.prlimit(pid, name, (value, value))
