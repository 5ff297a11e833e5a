from __future__ import annotations

import shutil
import subprocess

import pytest

from emberbox.images.debian.versions import is_newer
from tests.patience import PATIENCE_S

OLDER_NEWER = [
    ("1.0", "1.1"),
    ("1.9", "1.10"),
    ("1.0~rc1", "1.0"),
    ("1.0~~", "1.0~"),
    ("1.0", "1.0a"),
    ("1.0a", "1.0+b"),
    ("1.0-1", "1.0-2"),
    ("1.0-9+deb12u9", "1.0-9+deb12u10"),
    ("1.0-1~bpo12+1", "1.0-1"),
    ("9.9", "1:0.1"),
    ("6.1.153-1", "6.1.158-1"),
    ("2.36-9+deb12u10", "2.36-9+deb12u13"),
    ("3.0.17-1~deb12u2", "3.0.17-1~deb12u3"),
    ("5.2.15-2+b7", "5.2.15-2+b8"),
    ("1.2-a-1", "1.2-b-1"),
    ("1", "1.0"),
    ("0", "0."),
    ("1a", "1b"),
]
SAME = [("1.0", "1.00"), ("1.0", "0:1.0"), ("1", "1-0"), ("1.0-1", "1.0-01"), ("10", "10"), ("1.", "1.0")]


@pytest.mark.parametrize(("older", "newer"), OLDER_NEWER)
def test_which_is_newer(older: str, newer: str) -> None:
    assert is_newer(newer, older)
    assert not is_newer(older, newer)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_of_the_same_neither_is(one: str, other: str) -> None:
    assert not is_newer(one, other) and not is_newer(other, one)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
@pytest.mark.parametrize(("one", "other"), [*OLDER_NEWER, *SAME])
def test_dpkg_says_the_same(one: str, other: str) -> None:
    command = ["/usr/bin/dpkg", "--compare-versions", one, "lt", other]
    said = subprocess.run(command, check=False, timeout=PATIENCE_S).returncode == 0
    assert said is is_newer(other, one)
