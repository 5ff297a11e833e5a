"""The kernel's command line, quiet and talkative."""

from __future__ import annotations

from emberbox.vmm.firecracker.hardware import KERNEL_ARGS as FIRECRACKER
from emberbox.vmm.kernel_line import QUIET, TALKATIVE, kernel_line
from emberbox.vmm.qemu.arguments import KERNEL_ARGS as QEMU


def test_a_quiet_kernel_is_told_what_it_was_told() -> None:
    assert kernel_line(("console=ttyS0", "quiet", "a=b"), talkative=False) == "console=ttyS0 quiet a=b"


def test_a_talkative_kernel_loses_what_keeps_it_quiet_and_nothing_else() -> None:
    for words in (QEMU, FIRECRACKER):
        assert set(QUIET) <= set(words), "or a talkative kernel would be no other"
        told = kernel_line((*words, "mine=1"), talkative=True).split()
        assert told == [*(word for word in words if word not in QUIET), "mine=1", *TALKATIVE]
