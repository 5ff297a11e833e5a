from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.peers.vsock.migration import NotRecognized, make_migratable

if TYPE_CHECKING:
    from collections.abc import Iterator

QEMU = shutil.which(f"qemu-system-{os.uname().machine}")


@contextmanager
def running(*arguments: str) -> Iterator[int]:
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_another_program_is_left_as_it_is() -> None:
    with (
        running("/bin/sh", "-c", "echo ready; read line") as pid,
        pytest.raises(NotRecognized, match="0 descriptions"),
    ):
        make_migratable(pid)


@pytest.mark.skipif(QEMU is None, reason="QEMU is not installed")
def test_this_qemu_is_recognized_and_repeating_is_harmless() -> None:
    assert QEMU is not None
    with running(QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio") as pid:
        make_migratable(pid)
        make_migratable(pid)


def test_a_program_that_is_gone_is_an_error() -> None:
    with running("/bin/sh", "-c", "echo ready; read line") as pid:
        pass
    with pytest.raises(FileNotFoundError):
        make_migratable(pid)
