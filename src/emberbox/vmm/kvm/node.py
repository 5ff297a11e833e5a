"""How a VMM that has given up its rights opens /dev/kvm all the same.

QEMU opens the device by its name (up to 8.2 it takes no descriptor for it), and opening it again by
/proc/self/fd asks for the same rights. So the VMM's user needs a right to a node: by what all may
do, by the node's group, or by a node of its own.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from emberbox.errors import RequirementMissing
from emberbox.vmm.process.confinement import Device

DEVICE = Path("/dev/kvm")
"""KVM's device node, on the host and in a jail."""
OWN_NODE = "kvm"
"""Name of a machine's own node in its run folder."""
_EMULATE = "export EMBERBOX_VMM_ACCELERATOR=tcg"
_ALL_MAY = stat.S_IROTH | stat.S_IWOTH
_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP


def kvm_node(uid: int | None, run_dir: Path, device: Path = DEVICE) -> Device:
    """Return the node through which a VMM gets to KVM, made in `run_dir` where the host's own cannot serve.

    Args:
        uid: The VMM's uid and gid; None where it keeps ours, and our groups.
        run_dir: The machine's folder, which its owner removes with all that is in it.
        device: The host's node.

    Raises:
        RequirementMissing: There is no such device, or the VMM's user cannot be let at it.
    """
    try:
        status = device.stat()
    except OSError as error:
        raise RequirementMissing(
            f"this host has no {device}, so virtual machines cannot run on KVM", mend=_EMULATE
        ) from error
    if uid is None:
        return _with_our_rights(device)
    if status.st_mode & _ALL_MAY == _ALL_MAY:
        return Device(source=device, target=DEVICE)
    # Group 0 owns much else. The jail shows none of it, but a node of the VMM's own says less about
    # what it may do.
    if status.st_mode & _GROUP_MAY == _GROUP_MAY and status.st_gid != 0:
        return Device(source=device, target=DEVICE, group=status.st_gid)
    return _own(status.st_rdev, uid, run_dir, device)


def check_node(uid: int | None, folder: Path, device: Path = DEVICE) -> None:
    """Raise `RequirementMissing` where `kvm_node` would; leaves nothing.

    `folder` is on the file system of run folders.
    """
    with tempfile.TemporaryDirectory(prefix="trying-", dir=folder) as place:
        kvm_node(uid, Path(place), device)


def _with_our_rights(device: Path) -> Device:
    if not os.access(device, os.R_OK | os.W_OK):
        raise RequirementMissing(f"{device} may not be used by this user", mend=let_in(device))
    return Device(source=device, target=DEVICE)


def let_in(device: Path = DEVICE) -> str | None:
    """Return the command that grants the user the device; None where no group has a right to it."""
    import grp

    try:
        status = device.stat()
        name = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return None
    if status.st_mode & _GROUP_MAY != _GROUP_MAY or status.st_gid == 0:
        return None
    return f'sudo usermod -aG {name} "$USER"   # and log in again'


def _own(number: int, uid: int, run_dir: Path, device: Path) -> Device:
    if os.statvfs(run_dir).f_flag & os.ST_NODEV:
        raise RequirementMissing(
            f"{device} is its owner's alone, and devices cannot be opened in the data folder, whose file "
            "system is mounted with nodev: let a group use the device, or set EMBERBOX_DATA to a folder "
            "elsewhere",
            mend=f"chgrp kvm {device} && chmod 660 {device}",
            detail=str(run_dir),
        )
    node = run_dir / OWN_NODE
    try:
        os.mknod(node, stat.S_IFCHR | stat.S_IRUSR | stat.S_IWUSR, number)
        os.chown(node, uid, uid)
    except OSError as error:
        raise RequirementMissing(
            f"{device} is its owner's alone, and a node of the VMM's own cannot be made ({error.strerror}): "
            "let a group use it",
            mend=f"chgrp kvm {device} && chmod 660 {device}",
            detail=str(error),
        ) from error
    return Device(source=node, target=DEVICE)
