"""By which right a VMM opens /dev/kvm, on nodes of all kinds."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.kvm.node import DEVICE, check_node, kvm_node, let_in
from emberbox.vmm.process.confinement import Device
from emberbox.vmm.process.jail import JailFiles, jail_root
from emberbox.vmm.qemu.host import jail_files

UID = 790_004
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes nodes and gives files away")


def node(folder: Path, mode: int, group: int | None = None) -> Path:
    """Make a file that stands for the device."""
    path = folder / "device"
    path.touch()
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(mode)
    return path


def test_what_all_may_use_is_taken_as_it_is(tmp_path: Path) -> None:
    device = node(tmp_path, 0o666)
    assert kvm_node(UID, tmp_path, device) == Device(source=device, target=DEVICE)


@as_root
def test_the_group_of_the_node_is_lent(tmp_path: Path) -> None:
    device = node(tmp_path, 0o660, group=106)
    assert kvm_node(UID, tmp_path, device) == Device(source=device, target=DEVICE, group=106)


@as_root
@pytest.mark.parametrize(("mode", "group"), [(0o600, 0), (0o660, 0), (0o640, 106), (0o600, 106)])
def test_what_no_group_may_use_gets_a_node_of_the_vmm_s_own(mode: int, group: int, tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.chown(device, 0, group)
    device.chmod(mode)
    run_dir = tmp_path / "m1"
    run_dir.mkdir()
    made = kvm_node(UID, run_dir, device)
    assert made == Device(source=run_dir / "kvm", target=DEVICE)
    status = made.source.stat()
    assert (status.st_uid, status.st_gid, status.st_mode, status.st_rdev) == (
        UID,
        UID,
        stat.S_IFCHR | 0o600,
        os.makedev(1, 3),
    )


@as_root
def test_an_own_node_that_cannot_be_made_is_told_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = node(tmp_path, 0o600)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    with pytest.raises(RequirementMissing, match=r"its owner's alone.*Operation not permitted") as told:
        kvm_node(UID, tmp_path, device)
    assert told.value.mend == f"chgrp kvm {device} && chmod 660 {device}"
    monkeypatch.setattr(os, "ST_NODEV", 0xFFFFFFFF)
    with pytest.raises(RequirementMissing, match="mounted with nodev"):
        check_node(UID, tmp_path, device)
    assert [path.name for path in tmp_path.iterdir()] == ["device"], "nothing is left of the trial"


def test_no_device_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequirementMissing, match="this host has no"):
        kvm_node(UID, tmp_path, tmp_path / "kvm")


def test_an_ordinary_user_keeps_its_own_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = node(tmp_path, 0o600)
    assert kvm_node(None, tmp_path, device) == Device(source=device, target=DEVICE)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RequirementMissing, match="may not be used by this user"):
        kvm_node(None, tmp_path, device)


@as_root
def test_the_group_is_named_only_where_it_would_help(tmp_path: Path) -> None:
    assert let_in(node(tmp_path, 0o600, group=0)) is None
    assert let_in(node(tmp_path, 0o660, group=0)) is None, "nobody is to join root's group"
    assert let_in(node(tmp_path, 0o660, group=1)) == 'sudo usermod -aG daemon "$USER"   # and log in again'
    assert let_in(tmp_path / "kvm") is None


def test_a_jail_has_a_place_for_the_device(tmp_path: Path) -> None:
    plain = JailFiles(programs=(Path("/bin/true"),))
    files = JailFiles(programs=plain.programs, mount_points=(DEVICE,))
    root = jail_root(tmp_path, files)
    assert (root / "dev/kvm").read_bytes() == b""
    assert jail_root(tmp_path, plain) != root, (
        "a jail of an earlier release, which has none, is not taken for this one"
    )
    assert not (jail_root(tmp_path, plain) / "dev/kvm").exists()


def test_only_machines_on_kvm_have_the_place() -> None:
    assert jail_files(Path("/bin/true"), "kvm", "x86_64").mount_points == (DEVICE,)
    assert jail_files(Path("/bin/true"), "tcg", "x86_64").mount_points == ()
