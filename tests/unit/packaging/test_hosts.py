"""What `make test-hosts` decides before it installs anything."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.hosts.__main__ import DEFAULT_RUN, environment, remove_group
from tests.hosts.root import REPOSITORY
from tests.hosts.stages import STAGES, command_of

if TYPE_CHECKING:
    from pathlib import Path


def test_every_stage_of_the_usual_run_is_one() -> None:
    assert set(DEFAULT_RUN.split()) == set(STAGES)
    assert command_of("test-languages") == ("make", "test-languages")


def test_files_that_stages_name_exist() -> None:
    words = [word for command in STAGES.values() for word in command if word.startswith("tests/")]
    assert words and all((REPOSITORY / word).exists() for word in words)


def test_the_other_host_gets_nothing_of_this_ones_environment_but_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    secret = {"EMBERBOX_API_KEY": "x", "EMBERBOX_DATA": "/here", "HOME": "/home/me", "PATH": "/mine"}
    for name, value in {
        **secret,
        "PIP_INDEX_URL": "i",
        "https_proxy": "p",
        "EMBERBOX_TEST_LANGUAGES": "c",
    }.items():
        monkeypatch.setenv(name, value)
    given = environment()
    assert (given["PIP_INDEX_URL"], given["https_proxy"], given["EMBERBOX_TEST_LANGUAGES"]) == ("i", "p", "c")
    assert "EMBERBOX_API_KEY" not in given and (given["EMBERBOX_DATA"], given["HOME"]) == ("/data", "/root")
    assert "/mine" not in given["PATH"]


def test_groups_are_removed_from_the_innermost_on(tmp_path: Path) -> None:
    group = tmp_path / "group"
    (group / "emberbox" / "machine").mkdir(parents=True)
    remove_group(group)
    remove_group(group)
    assert not group.exists()


@pytest.mark.parametrize("purpose", ["", "test", "bench", "hosts"])
def test_the_list_of_packages_installs_nothing(purpose: str) -> None:
    words = [str(REPOSITORY / "scripts/packages.sh"), *([purpose] if purpose else []), "--list"]
    listed = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert {"bubblewrap", "mmdebstrap", "debian-archive-keyring"} <= set(listed)
    assert ("postgresql" in listed) is (purpose == "test")
