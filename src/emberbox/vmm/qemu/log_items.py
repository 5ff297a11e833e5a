"""What QEMU logs, by `vmm.log_level`.

QEMU has no levels: its messages always go to standard error. What can be added are log items (`-d`:
what a guest does that no real machine allows, what QEMU does not emulate) and trace events
(`-trace`), which go there as well. The file is bounded as the console's is, and what is beyond the
bound is lost. Neither holds what a guest reads or writes.
"""

from __future__ import annotations

_ITEMS = ("-d", "guest_errors,unimp")
_DEBUG = (
    "guest_cpu_reset",
    "handle_qmp_command",
    "migrate_set_state",
    "virtio_serial_handle_control_message*",
    "virtio_set_status",
)
_TRACE = ("loadvm_*", "monitor_*", "savevm_section_*", "virtio_notify", "virtio_queue_notify")


def log_arguments(level: str) -> list[str]:
    """Return QEMU's arguments for one of `vmm.log_level`; none below `info`."""
    if level not in ("info", "debug", "trace"):
        return []
    events = {"info": (), "debug": _DEBUG, "trace": (*_DEBUG, *_TRACE)}[level]
    return [*_ITEMS, *(word for event in events for word in ("-trace", event))]
