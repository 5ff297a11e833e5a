"""Counters that are written as one line of JSON for each flush, as what came since the last."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.peers.firecracker.output import open_for_writing, write_now

_COUNTERS = {
    "api_server": (
        "process_startup_time_us",
        "process_startup_time_cpu_us",
        "sync_response_fails",
        "sync_vmm_send_timeout_count",
    ),
    "balloon": (
        "activate_fails",
        "inflate_count",
        "stats_updates_count",
        "stats_update_fails",
        "deflate_count",
        "event_fails",
    ),
    "block": (
        "activate_fails",
        "read_bytes",
        "write_bytes",
        "read_count",
        "write_count",
        "flush_count",
        "update_count",
    ),
    "entropy": ("activate_fails", "entropy_event_fails", "entropy_event_count", "entropy_bytes"),
    "get_api_requests": ("instance_info_count", "machine_cfg_count", "balloon_count", "vmm_version_count"),
    "logger": ("missed_metrics_count", "metrics_fails", "missed_log_count", "log_fails"),
    "net": ("activate_fails", "rx_bytes_count", "tx_bytes_count", "rx_packets_count", "tx_packets_count"),
    "patch_api_requests": ("count", "fails"),
    "put_api_requests": ("count", "fails"),
    "seccomp": ("num_faults",),
    "signals": ("sigbus", "sigsegv", "sigxfsz", "sigxcpu", "sigpipe", "sighup", "sigill"),
    "uart": ("error_count", "write_count", "read_count", "rate_limiter_dropped_bytes"),
    "vcpu": ("exit_io_in", "exit_io_out", "exit_mmio_read", "exit_mmio_write", "failures"),
    "vmm": ("panic_count",),
    "vsock": (
        "activate_fails",
        "rx_bytes_count",
        "tx_bytes_count",
        "conns_added",
        "conns_killed",
        "conns_removed",
    ),
}
_LATENCIES = ("full_create_snapshot", "load_snapshot", "pause_vm", "resume_vm")


class Metrics:
    """All counters, and where they are flushed to (nowhere until `configure`)."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._now = {group: dict.fromkeys(names, 0) for group, names in _COUNTERS.items()}
        self._told = {group: dict.fromkeys(names, 0) for group, names in _COUNTERS.items()}
        self._latencies = dict.fromkeys(_LATENCIES, 0)
        self._descriptor: int | None = None
        self._emit_id = False
        self._properties: dict[str, str] = {}

    @property
    def configured(self) -> bool:
        """Whether there is a place to flush to."""
        return self._descriptor is not None

    def configure(
        self, path: str, *, emit_id: bool = False, properties: dict[str, str] | None = None
    ) -> None:
        """Set where lines go, once. Raises `OSError`."""
        self._descriptor = open_for_writing(path, create=True)
        self._emit_id = emit_id
        self._properties = properties or {}

    def add(self, group: str, name: str, count: int = 1) -> None:
        """Count something."""
        self._now[group][name] += count

    def reached(self, group: str, name: str, total: int) -> None:
        """Set a counter to what was counted elsewhere since the start."""
        self._now[group][name] = max(total, self._now[group][name])

    def took(self, what: str, seconds: float) -> None:
        """Note how long the latest action of a kind took."""
        self._latencies[what] = round(seconds * 1_000_000)

    def flush(self) -> bool:
        """Write what came since the last flush.

        Returns False when nobody took the line, which then counts as missed.
        Without a place to flush to it is done at once.
        """
        if self._descriptor is None:
            return True
        line: dict[str, Any] = {"utc_timestamp_ms": time.time_ns() // 1_000_000}
        if self._emit_id:
            line["id"] = self._identity
        if self._properties:
            line["properties"] = self._properties
        for group, counters in self._now.items():
            line[group] = {name: value - self._told[group][name] for name, value in counters.items()}
        line["latencies_us"] = self._latencies
        if write_now(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n"):
            self.add("logger", "missed_metrics_count")
            return False
        self._told = {group: dict(counters) for group, counters in self._now.items()}
        return True
