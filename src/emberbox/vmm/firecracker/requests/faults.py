"""What Firecracker's refusals and exit codes mean, and what to do about each.

Source: Firecracker's exit codes (its `FcExitCode`) and the messages of its API.
"""

from __future__ import annotations

import re

from emberbox.errors import VmmRefused
from emberbox.text import escaped
from emberbox.vmm.process.process import explain_signal

LONGEST_FAULT = 2048
_LONGEST_LINE = 300
_TOO_EARLY = re.compile(r"not activated yet|device is not active", re.IGNORECASE)
_SAID_WHY = frozenset({1, 2, 152, 153})

_EXITS = {
    0: "the guest rebooted, or its kernel panicked (which ends Firecracker in the same way): the console "
    "log tells which",
    1: "Firecracker or its jailer failed while it was being set up",
    2: "Firecracker met an error that it does not expect; please report it with its log",
    148: "a thread made a system call that Firecracker's seccomp filter forbids: use the official build "
    "for this architecture, and a host kernel and C library that it supports",
    149: "it could not reach memory that a file should hold (SIGBUS): a template's memory file was changed "
    "or cut short while a clone lived, the disk is full, or there are too few huge pages; build the "
    "template anew and look at the disk",
    150: "it touched memory that it does not have (SIGSEGV): a fault of Firecracker; please report it with "
    "its log",
    151: "a file grew beyond the jail's limit of file size (SIGXFSZ): give the machine more, or let it "
    "write less",
    152: "its configuration was refused: the log names the field",
    153: "its command line was refused: this Firecracker is of another release than the one that Emberbox "
    "knows; run: emberbox setup --vmm firecracker",
    154: "it used up its limit of CPU time (SIGXCPU): raise that limit of the host",
    156: "it was told to end by a hang-up (SIGHUP)",
    157: "it met an instruction that this CPU does not have (SIGILL): use the build for this architecture",
}
OWN_CODES = frozenset(code for code in _EXITS if code > 128)
"""Exit codes that a wrapper would take for signals."""

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"unknown field|unknown variant|invalid request method and/or path",
        "This Firecracker is too old for it; run: emberbox setup --vmm firecracker",
    ),
    (
        r"kvm.*(permission denied|os error 13\b)|(permission denied|os error 13\b).*kvm",
        "The machine's user may not use /dev/kvm: look at the device's rights, and run: emberbox doctor",
    ),
    (
        r"/dev/kvm|kvm object|creating kvm|kvm.*(os error (2|6|19)\b|no such (file|device))",
        "This host offers no hardware virtualization: load the module kvm_intel or kvm_amd, or turn "
        "virtualization on in the firmware or the cloud's settings; the driver qemu works without it",
    ),
    (
        r"(snapshot|format|data) ?version|(un)?supported version",
        "The snapshot is of another Firecracker release: build the template anew",
    ),
    (
        r"cpu (vendor|model|template|manufacturer|features?)|cpuid|\bmsrs?\b|manufacturer",
        "The snapshot is of another CPU model or host kernel: build the template anew on this host",
    ),
    (
        r"\bcrc|checksum|magic (value|id|number)|snapshot.{0,80}\b(corrupt|truncated|deserializ|decod)"
        r"|guest memory.{0,80} size\b",
        "The snapshot is damaged: build the template anew",
    ),
    (
        r"address (already )?in use|os error 98\b",
        "Its socket's path is taken already: each machine needs a fresh folder",
    ),
    (
        r"payload|mmds.*(limit|fit)|body (is )?too (large|long)|larger than the limit",
        "The API takes at most 51,200 bytes: send less metadata",
    ),
    (
        r"not supported after starting|after (the )?micro-?vm (has been |was )?start",
        "It must be sent before the machine starts; after that only updates are taken",
    ),
    (
        r"not supported (before|until|prior to) starting|before (the )?micro-?vm (has been |was )?start",
        "It is taken only once the machine runs",
    ),
    (
        r"not activated yet|device is not active",
        "The guest's driver for it is not up yet: try again once the guest has booted",
    ),
    (r"\bnot paused|unavailable while running", "A snapshot is taken of a paused machine"),
    (
        r"not allowed after configuring",
        "A snapshot is loaded only into a fresh process, before anything but its log and metrics is set",
    ),
    (
        r"\btap\b.*(busy|os error 16\b)|(busy|os error 16\b).*\btap\b",
        "The TAP device is in use by another machine",
    ),
    (
        r"\btap\b",
        "Look whether the TAP device exists in the machine's network namespace, and belongs to the "
        "machine's user",
    ),
    (r"no space left|os error 28\b", "The disk is full: free some space, then try again"),
    (
        r"cannot allocate memory|out of memory|os error 12\b",
        "The host has too little memory for it: run fewer or smaller machines",
    ),
    (r"too many open files|os error 24\b", "The jail's limit of open files is too low for this machine"),
    (
        r"permission denied|os error 13\b",
        "The machine's user may not open it: look at the file's owner and rights in the jail",
    ),
    (r"no such file|os error 2\b", "The file is not in the machine's jail, where all of its paths begin"),
)


class FirecrackerFault(VmmRefused):
    """Firecracker answered a request with a fault, and did not do it.

    Args:
        request: Method and path, `PUT /drives/0`.
        http_status: What it answered with: 400, or 413 for metadata that is too large.
        fault_message: What Firecracker said, made harmless by `harmless`.
    """

    def __init__(self, request: str, http_status: int, fault_message: str) -> None:
        super().__init__(
            explain_fault(request, fault_message), detail=f"{request}: {http_status}: {fault_message}"
        )
        self.request = request
        self.http_status = http_status
        self.fault_message = fault_message

    @property
    def too_early(self) -> bool:
        """Whether it was refused only because the guest does not drive the device yet."""
        return _TOO_EARLY.search(self.fault_message) is not None


def explain_fault(request: str, message: str) -> str:
    """Return sentences for people: what was refused, Firecracker's words, and any known remedy."""
    told = f"Firecracker refused {request}: {message.rstrip(' .') or 'it did not say why'}"
    advice = _advice(message)
    return f"{told}. {advice}" if advice else told


def explain_exit(code: int, said: str) -> str:
    """Return what the end of a VMM process means and what to do.

    Args:
        code: Its exit code; negative for a signal, as in `subprocess`. Above 128 also a signal, as
            shells and bubblewrap tell it, but for those codes that are Firecracker's own.
        said: The last lines of its log, of any size; may be empty.
    """
    ended = f"Firecracker ended with code {code}: {_EXITS[code]}" if code in _EXITS else _by_signal(code)
    if code == 0:
        return ended
    last = harmless(
        next(
            (line for line in reversed(said[-16 * LONGEST_FAULT :].splitlines()) if line.strip()), ""
        ).strip()
    )
    told = f"{ended}. It said last: {last[:_LONGEST_LINE]}" if last else ended
    # After a signal the log's last lines are about something else.
    advice = _advice(said[-LONGEST_FAULT:]) if code in _SAID_WHY else None
    return f"{told}. {advice}" if advice else told


def harmless(text: str) -> str:
    """Return a VMM's text in `LONGEST_FAULT` characters, what steers a terminal or a log written out."""
    return escaped(text[:LONGEST_FAULT])[:LONGEST_FAULT]


def _advice(message: str) -> str | None:
    told = message[:LONGEST_FAULT]
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, told, re.IGNORECASE)), None)


def _by_signal(code: int) -> str:
    number = -code if code < 0 else code - 128
    told = explain_signal("Firecracker", number)
    return told or f"Firecracker ended with code {code}, which is none of its own"
