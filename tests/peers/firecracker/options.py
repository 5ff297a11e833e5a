"""How this peer behaves, from the launcher's options (see the package)."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import Any

_KEYS = {"unknown_fields", "exit_code", "when", "hang", "delay_s", "vsock_silent", "garbage", "flood_log"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the launcher asked for. Raises `ValueError` for a behaviour that there is not."""

    version: str = "1.16.1"
    snapshot_version: str = "9.0.0"
    qemu: str = "/usr/bin/qemu-system-x86_64"
    processor: str = "max"
    behaviour: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strange = set(self.behaviour) - _KEYS
        if strange:
            raise ValueError(f"the peer has no behaviour {', '.join(sorted(strange))}")

    @property
    def unknown_fields(self) -> frozenset[str]:
        """Fields that this release does not know."""
        return frozenset(self.behaviour.get("unknown_fields", ()))

    @property
    def vsock_silent(self) -> bool:
        """Whether the vsock never answers."""
        return bool(self.behaviour.get("vsock_silent", False))

    @property
    def flood_log(self) -> bool:
        """Whether it logs as fast as it can."""
        return bool(self.behaviour.get("flood_log", False))

    def hangs(self, request: str) -> bool:
        """Whether this request (`PUT /path`) is never answered."""
        return bool(self.behaviour.get("hang") == request)

    def delay_s(self, request: str) -> float:
        """How much later this request is answered."""
        return float(self.behaviour.get("delay_s", {}).get(request, 0))

    def garbage(self, request: str) -> bool:
        """Whether this request is answered with what is not HTTP."""
        return bool(self.behaviour.get("garbage") == request)

    def crash(self, moment: str) -> None:
        """End this process when that was asked for at this moment."""
        if self.behaviour.get("when") == moment:
            end_at_once(int(self.behaviour["exit_code"]))

    def crash_later(self) -> None:
        """See to the end that was asked for some time after the start."""
        when = self.behaviour.get("when")
        if isinstance(when, dict):
            asyncio.get_running_loop().call_later(
                float(when["after_start_s"]), end_at_once, int(self.behaviour["exit_code"])
            )


def end_at_once(code: int) -> None:
    """End this process as a crash does: no answer, no last word. Negative: by that signal."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
