"""Why a guest did not boot, in words: from its kernel's text, its VMM's, and signs outside. Pure.

The guest's text is hostile: patterns are applied to the end of it alone, line by line, and what is
quoted is escaped and bounded. Kernel messages: the kernel's init/main.c, init/do_mounts.c,
init/initramfs.c and mm/oom_kill.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from emberbox.vmm.boots.guest_text import last_lines

CONSOLE_LINES = 40
LOG_LINES = 15
_LOOKED_AT = 200
_QUOTED = 200


class Symptom(StrEnum):
    """What was seen from outside of a boot that came to nothing."""

    ENDED = "ended"
    """The VMM's process ended."""
    STOPPED = "stopped"
    """The VMM stopped the vCPUs by itself."""
    IDLE = "idle"
    """The VMM slept, and waited for nothing of the host."""
    BUSY = "busy"
    """A vCPU computed on and on, and nothing came of it."""
    TIMERLESS = "timerless"
    """The kernel could not measure its timer, and waits for interrupts that do not come."""
    LATE = "late"
    """Whatever it did, it took longer than a boot may take at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a boot that came to nothing.

    Args:
        symptom: What was seen.
        seconds: Of a vCPU for `BUSY`, of the clock for `IDLE` and `LATE`; 0 else.
        console: What the guest's kernel printed.
        vmm_log: What the VMM logged and wrote to its standard error.
        trouble: What the VMM knows (`Machine.trouble`); None for nothing.
    """

    symptom: Symptom
    seconds: float = 0.0
    console: str = ""
    vmm_log: str = ""
    trouble: str | None = None

    @property
    def detail(self) -> str:
        """The ends of console and log, for operators: escaped and bounded."""
        ends = ("guest's console", CONSOLE_LINES, self.console), ("VMM's log", LOG_LINES, self.vmm_log)
        told = [(whose, last_lines(text, count)) for whose, count, text in ends]
        return "\n".join(
            "\n  ".join((f"the {whose} ends with:", *lines)) if lines else f"the {whose} is empty"
            for whose, lines in told
        )


_VMM_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"KVM internal error|KVM_EXIT_INTERNAL_ERROR|KVM_EXIT_FAIL_ENTRY|hardware error 0x",
        "this host's KVM could not run the guest's kernel (KVM internal error):"
        " see which kind of KVM it is with emberbox doctor, or"
        " set vmm.accelerator to tcg",
    ),
    (
        r"failed to set MSR|kvm_buf_set_msrs|Failed to set vCPU MSR|kvm_put_msrs",
        "this host's KVM refused the processor that the guest is given: see which kind of KVM it is with "
        "emberbox doctor, or set vmm.accelerator to tcg",
    ),
    (
        r"cannot (set up|allocate) (guest )?memory|Cannot allocate memory|os error 12\b",
        "the host has too little memory for it: run fewer or smaller machines",
    ),
    (r"No space left on device|os error 28\b", "the disk under the data folder is full: free some space"),
)
"""What VMMs say, and what it means."""

_KERNEL_WORDS: tuple[tuple[str, str], ...] = (
    (r"emberbox-agent: (?P<said>.+)", "its agent gave up: {said}"),
    (
        r"Initramfs unpacking failed: (?P<said>.+)",
        "its kernel could not unpack the initramfs ({said}): build the image again (emberbox images build)",
    ),
    (
        r"Kernel panic - not syncing: (?P<said>VFS: Unable to mount root fs.*)",
        "its kernel found no root file system ({said}): the initramfs is missing or holds no /init; "
        "build the image again",
    ),
    (
        r"Kernel panic - not syncing: (?P<said>(No working init found|Requested init).*)",
        "its kernel found no program to start ({said}): "
        "the initramfs holds no /init that runs on this processor; build the image again",
    ),
    (
        r"Kernel panic - not syncing: (?P<said>Attempted to kill init.*)",
        "the guest's first program, the agent, ended, and with it the kernel ({said}): build the image again",
    ),
    (
        r"Kernel panic - not syncing: (?P<said>.*(deadlocked on memory|[Oo]ut of memory).*)",
        "its memory is too small for it ({said}): give the machine more",
    ),
    (r"Kernel panic - not syncing: (?P<said>.+)", "its kernel panicked: {said}"),
    (
        r"(?P<said>(BUG: |Oops: |general protection fault|invalid opcode: |kernel BUG at ).*)",
        "its kernel failed: {said}",
    ),
)
"""What kernels and the agent print with their last breath, the most telling first."""

_SPINNING = (
    "; a kernel that computes and prints nothing is often one that does not fit what it runs on: an "
    "emulated processor with FSRM and without ERMS, or a KVM without hardware (emberbox doctor tells which "
    "it is)"
)


def cause(evidence: Evidence) -> str:
    """Return what went wrong, as a sentence's rest behind the machine's name, without host paths."""
    return (
        _told(_VMM_WORDS, last_lines(evidence.vmm_log, _LOOKED_AT))
        or _told(_KERNEL_WORDS, last_lines(evidence.console, _LOOKED_AT))
        or _seen(evidence)
    )


def _told(known: tuple[tuple[str, str], ...], lines: list[str]) -> str | None:
    for pattern, words in known:
        found = next((match for line in lines if (match := re.search(pattern, line))), None)
        if found is not None:
            return words.format(
                **{name: quoted[:_QUOTED].strip() for name, quoted in found.groupdict().items()}
            )
    return None


def _seen(evidence: Evidence) -> str:
    silent = not last_lines(evidence.console, 1)
    match evidence.symptom:
        case Symptom.ENDED | Symptom.STOPPED:
            return evidence.trouble or "the connection to its agent broke off"
        case Symptom.IDLE:
            return (
                f"its guest has done nothing for {evidence.seconds:.0f} s: its processors are halted, or "
                "what it started first waits for something that does not come"
            )
        case Symptom.BUSY:
            what = "without printing a word" if silent else "without coming any further"
            return f"its guest has computed for {evidence.seconds:.0f} s {what}{_SPINNING if silent else ''}"
        case Symptom.TIMERLESS:
            return (
                "the host kept its processor from running at the moment in which its kernel measures its "
                "timer, and it waits for interrupts that do not come: try again, or when the host is less "
                "busy"
            )
        case Symptom.LATE:
            return f"its agent has not spoken for {evidence.seconds:.0f} s (vmm.boot_timeout_s)"
