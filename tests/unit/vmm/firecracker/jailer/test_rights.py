from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.firecracker.jailer import rights
from emberbox.vmm.firecracker.jailer.rights import check_rights

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Firecracker's driver asks for root first")
UID = 790_123


def without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bubblewrap behave as under a profile that leaves its children no capability."""
    wrapper = tmp_path / "bwrap"
    wrapper.write_text("#!/bin/sh\necho 'setpriv: setresuid failed: Operation not permitted' >&2\nexit 127\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr(rights, "BUBBLEWRAP", wrapper)


def test_where_all_is_allowed_nothing_is_left(tmp_path: Path) -> None:
    check_rights(tmp_path / "vmm", UID)
    assert list((tmp_path / "vmm").iterdir()) == []


def test_a_service_that_may_make_no_devices_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    with pytest.raises(RequirementMissing, match="capability MKNOD"):
        check_rights(tmp_path, UID)
    assert list(tmp_path.iterdir()) == []


def test_a_bubblewrap_that_takes_rights_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_rights(tmp_path, monkeypatch)
    monkeypatch.setattr(rights, "_PROFILE", tmp_path / "absent")
    with pytest.raises(RequirementMissing, match="setresuid failed") as caught:
        check_rights(tmp_path, UID)
    assert caught.value.mend is None
    profile = tmp_path / "bwrap-userns-restrict"
    profile.touch()
    monkeypatch.setattr(rights, "_PROFILE", profile)
    with pytest.raises(RequirementMissing, match="AppArmor") as caught:
        check_rights(tmp_path, UID)
    assert str(profile) in str(caught.value.mend)


def test_a_program_that_is_no_bubblewrap_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "BUBBLEWRAP", tmp_path / "absent")
    with pytest.raises(RequirementMissing, match="does not start programs"):
        check_rights(tmp_path, UID)
