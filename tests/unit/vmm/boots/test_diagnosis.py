"""Known causes of boots that come to nothing are told in words; unknown ones by what was seen."""

from __future__ import annotations

import pytest

from emberbox.vmm.boots.diagnosis import Evidence, Symptom, cause
from emberbox.vmm.qemu.machine import explain_exit, explain_status

ENDED = "the guest ended itself"


@pytest.mark.parametrize(
    ("console", "told"),
    [
        (
            "[1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "found no root file system",
        ),
        (
            "[1.0] Kernel panic - not syncing: No working init found.  Try passing init=",
            "found no program to start (No working",
        ),
        (
            "[1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000b00\r\n[1.0] CPU: 0",
            "the agent, ended",
        ),
        ("[1.0] Kernel panic - not syncing: System is deadlocked on memory", "its memory is too small"),
        (
            "[1.0] Kernel panic - not syncing: hung_task: blocked tasks",
            "its kernel panicked: hung_task: blocked tasks",
        ),
        (
            "[1.0] Initramfs unpacking failed: junk within compressed archive\n"
            "[2.0] Kernel panic - not syncing: VFS: Unable to",
            "could not unpack the initramfs (junk within compressed archive)",
        ),
        (
            "emberbox-agent: cannot insert the module virtio.ko: exec format error\n"
            "[2.0] Kernel panic - not syncing: Attempted to",
            "its agent gave up: cannot insert the module virtio.ko",
        ),
        (
            "[1.0] BUG: unable to handle page fault for address: 0000",
            "its kernel failed: BUG: unable to handle page fault",
        ),
        ("nothing of interest", ENDED),
    ],
)
def test_what_the_kernel_printed_is_the_cause(console: str, told: str) -> None:
    assert told in cause(Evidence(symptom=Symptom.ENDED, console=console, trouble=ENDED))


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "KVM internal error. Suberror: 1\nextra data[0]: 0x0000",
            "emberbox doctor, or set vmm.accelerator to tcg",
        ),
        (
            "2026-11-29T10:00:00 [m:fc_vcpu 0:ERROR] Received KVM_EXIT_INTERNAL_ERROR signal",
            "could not run the guest's kernel",
        ),
        ("qemu-system-x86_64: error: failed to set MSR 0x174 to 0x0", "refused the processor"),
        (
            "qemu-system-x86_64: cannot set up guest memory 'memory': Cannot allocate memory",
            "too little memory",
        ),
    ],
)
def test_what_the_vmm_said_is_the_cause_before_all_else(log: str, told: str) -> None:
    panic = "[1.0] Kernel panic - not syncing: something"
    assert told in cause(Evidence(symptom=Symptom.ENDED, console=panic, vmm_log=log, trouble=ENDED))


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (
            Evidence(symptom=Symptom.STOPPED, trouble=explain_status("internal-error")),
            "stopped the processors",
        ),
        (Evidence(symptom=Symptom.ENDED), "the connection to its agent broke off"),
        (Evidence(symptom=Symptom.IDLE, seconds=8.2), "has done nothing for 8 s"),
        (
            Evidence(symptom=Symptom.BUSY, seconds=15.1),
            "computed for 15 s without printing a word; a kernel that",
        ),
        (
            Evidence(symptom=Symptom.BUSY, seconds=15.1, console="Mount-cache"),
            "computed for 15 s without coming any further",
        ),
        (
            Evidence(symptom=Symptom.TIMERLESS, seconds=2.6),
            "waits for interrupts that do not come: try again",
        ),
        (Evidence(symptom=Symptom.LATE, seconds=300), "has not spoken for 300 s (vmm.boot_timeout_s)"),
    ],
)
def test_without_words_it_is_told_what_was_seen(evidence: Evidence, told: str) -> None:
    assert told in cause(evidence)


def test_hostile_text_is_bounded_and_escaped() -> None:
    console = "Kernel panic - not syncing: \x1b[2J{said} {0}" + "x" * 100_000
    evidence = Evidence(symptom=Symptom.ENDED, console=console * 50, vmm_log="\x1b]0;" + "y" * 100_000)
    for text in (cause(evidence), evidence.detail):
        assert "\x1b" not in text
    assert len(cause(evidence)) < 600
    assert len(evidence.detail) < 40_000
    assert "\\x1b[2J{said} {0}" in cause(Evidence(symptom=Symptom.ENDED, console=console[:60]))


def test_the_detail_has_the_ends_of_both() -> None:
    detail = Evidence(symptom=Symptom.IDLE, console="first\nlast\n", vmm_log="a warning\n").detail
    assert detail == "the guest's console ends with:\n  first\n  last\nthe VMM's log ends with:\n  a warning"
    assert Evidence(symptom=Symptom.IDLE).detail == "the guest's console is empty\nthe VMM's log is empty"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "ended itself"),
        (1, "ended with code 1"),
        (-9, "for its use of memory"),
        (-6, "SIGABRT"),
        (-250, "signal (250)"),
    ],
)
def test_each_end_of_qemu_is_explained(code: int, told: str) -> None:
    assert told in explain_exit(code)


def test_only_what_nobody_asked_for_is_trouble() -> None:
    assert explain_status("guest-panicked")
    assert explain_status("running") is None
    assert explain_status("paused") is None
