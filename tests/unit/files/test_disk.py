"""Whether a failure is the disk's lack of room."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from emberbox.files.disk import is_full


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_without_room() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as caught:
        full.write(b"x")
    assert is_full(caught.value)


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC])
def test_a_share_that_is_used_up(number: int) -> None:
    assert is_full(OSError(number, os.strerror(number)))


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), OSError("no number"), ValueError("no file")])
def test_other_failures(error: Exception) -> None:
    assert not is_full(error)
