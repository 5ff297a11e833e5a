"""What QEMU's end, or its stop of the vCPUs, means, in words.

Source: QEMU's qapi/run-state.json (`RunState`). A guest that panics reboots (`panic=-1`), and with
`-no-reboot` QEMU ends then.
"""

from __future__ import annotations

from emberbox.vmm.process.process import explain_signal

_STATUSES = {
    "internal-error": "its VMM met an error that it cannot go on after, and stopped the processors",
    "guest-panicked": "its kernel panicked, and its VMM stopped the processors",
    "io-error": "its VMM could not read or write a drive, and stopped the processors",
    "watchdog": "its watchdog fired, and its VMM stopped the processors",
    "shutdown": "it was shut down, and its VMM waits to be ended",
}


def explain_status(status: str) -> str | None:
    """Return the meaning of an unasked-for `query-status` status; None for one without trouble."""
    return _STATUSES.get(status)


def explain_exit(code: int) -> str:
    """Return what QEMU's exit code means; negative for a signal."""
    if code == 0:
        return "the guest ended itself, by a reboot or a triple fault, and its VMM with it"
    if code > 0:
        return f"its VMM ended with code {code}"
    return explain_signal("its VMM", -code) or f"its VMM was ended by a signal ({-code})"
