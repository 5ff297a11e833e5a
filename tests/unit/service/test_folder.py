"""A service's marks in its data folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import DataFolderBusy, RequirementMissing
from emberbox.files.atomic import PARTIAL
from emberbox.service.folder import ServiceFolder

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    with ServiceFolder.claim(tmp_path) as folder:
        with pytest.raises(DataFolderBusy, match=f"process {os.getpid()}\\)"):
            ServiceFolder.claim(tmp_path)
        folder.announce("http://127.0.0.1:8470", "0.1.0")
        with pytest.raises(DataFolderBusy, match=f"process {os.getpid()}, at http://127.0.0.1:8470"):
            ServiceFolder.claim(tmp_path)
    ServiceFolder.claim(tmp_path).release()


def test_it_is_announced_privately_and_withdrawn(tmp_path: Path) -> None:
    folder = ServiceFolder.claim(tmp_path / "new/data")
    folder.announce("http://127.0.0.1:1", "0.1.0")
    file = tmp_path / "new/data/service.json"
    assert json.loads(file.read_text()) == {
        "url": "http://127.0.0.1:1",
        "pid": os.getpid(),
        "version": "0.1.0",
    }
    assert file.stat().st_mode & 0o777 == 0o600
    folder.release()
    folder.release()
    assert not file.exists()


def test_the_death_of_its_holder_frees_it(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from emberbox.service.folder import ServiceFolder; "
        "f = ServiceFolder.claim(pathlib.Path(sys.argv[1])); f.announce('http://x', '0'); "
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path]).returncode == -9
    assert (tmp_path / "service.json").exists()
    with ServiceFolder.claim(tmp_path):
        assert not (tmp_path / "service.json").exists()


def test_the_admin_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}0").write_text("left by a kill")
    (tmp_path / f"{PARTIAL}0").chmod(0o644)
    with ServiceFolder.claim(tmp_path) as folder:
        assert folder.admin_key() is None
        folder.keep_admin_key("ember_secret")
        assert folder.admin_key() == "ember_secret"
        assert folder.admin_key_file.stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == ["admin.key", "service.lock"]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequirementMissing, match="choose another with --data"):
        ServiceFolder.claim(tmp_path / "file/data")
