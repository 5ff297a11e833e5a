"""One installation from its beginning on, and what becomes of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from emberbox.errors import PackagesFailed
from emberbox.model import PackagesResult

if TYPE_CHECKING:
    from emberbox.config import PackageSettings
    from emberbox.guest import ExecOutcome
    from emberbox.runtimes.package_tools.base import PackageTool
    from emberbox.sandbox.packages.filtering_proxy import FilteringProxy

OUTPUT_BYTES = 65_536
"""How much is kept of what the tool said: its end."""


class Attempt:
    """An installation that begins now.

    Args:
        tool: What installs.
        settings: The bounds, for messages.
    """

    def __init__(self, tool: PackageTool, settings: PackageSettings) -> None:
        self._tool = tool
        self._settings = settings
        self._begun = time.perf_counter()
        self._output = b""
        self._downloaded_bytes = 0

    def note(self, outcome: ExecOutcome, proxy: FilteringProxy) -> None:
        """Note how the tool ended. Raises `PackagesFailed` unless it installed all."""
        self._output = outcome.stdout[-OUTPUT_BYTES:]
        self._downloaded_bytes = proxy.downloaded_bytes
        if outcome.exit_code != 0:
            raise self.failed(*self._verdict(outcome, proxy))

    def _verdict(self, outcome: ExecOutcome, proxy: FilteringProxy) -> tuple[str, str]:
        """Return the reason, and the message for people."""
        if outcome.reason == "timed_out":
            bound = f"{self._settings.timeout_s:g} s (packages.timeout_s)"
            return "timed_out", f"{self._tool.name} did not end within {bound}"
        if proxy.exhausted:
            needed = f"the packages need more than {self._settings.download_mib} MiB of traffic"
            return "too_large", f"{needed}; raise packages.download_mib to allow it"
        message = self._tool.failure_message(outcome.stdout.decode("utf-8", "replace"))
        if outcome.reason != "exited":
            message = f"{self._tool.name} was ended: {outcome.reason}"
        refused = "; ".join(list(proxy.refused)[:3])
        return "failed", f"{message} [{refused}]" if refused else message

    def failed(self, reason: str, message: str) -> PackagesFailed:
        """Return the error that tells of a failure; the caller raises it."""
        return PackagesFailed(self.result(reason, message))

    def result(self, reason: str, message: str | None = None) -> PackagesResult:
        """Return what became of it: a failure where there is a message."""
        return PackagesResult(
            ok=message is None,
            reason=reason,
            tool=self._tool.name,
            wall_ms=(time.perf_counter() - self._begun) * 1000,
            output_data=self._output,
            downloaded_bytes=self._downloaded_bytes,
            message=message,
        )
