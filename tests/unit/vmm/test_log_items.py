"""`vmm.log_level` on both drivers."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from emberbox.config import VMM_LOG_LEVELS
from emberbox.vmm.firecracker.hardware import arguments
from emberbox.vmm.qemu.arguments import log_arguments


def test_qemu_says_more_from_level_to_level() -> None:
    lengths = [len(log_arguments(level)) for level in VMM_LOG_LEVELS]
    assert lengths[:3] == [0, 0, 0], "QEMU's messages are always there"
    assert sorted(set(lengths[3:])) == lengths[3:]
    assert lengths[3] > 0


@pytest.mark.parametrize("level", VMM_LOG_LEVELS)
def test_firecracker_gets_the_level(level: str) -> None:
    words = arguments(level)
    assert words[words.index("--level") + 1].lower() == level


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not here")
def test_qemu_knows_every_item_and_event() -> None:
    command = [
        "qemu-system-x86_64",
        "-machine",
        "none",
        "-display",
        "none",
        *log_arguments("trace"),
        "-version",
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert told.stderr == ""
