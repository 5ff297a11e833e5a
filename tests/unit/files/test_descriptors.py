"""A descriptor ends with its block, whatever becomes of that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emberbox.files.descriptors import opened


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_closed_at_the_end(tmp_path: Path, fails: bool) -> None:
    with opened(tmp_path, os.O_RDONLY | os.O_DIRECTORY) as folder:
        try:
            with opened("made", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=folder) as file:
                assert not os.get_inheritable(file)
                os.write(file, b"text")
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        assert not is_open(file)
    assert not is_open(folder)
    assert (tmp_path / "made").read_bytes() == b"text"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(tmp_path / "none", os.O_RDONLY):
        pass
