"""The flags of `emberbox serve`."""

from __future__ import annotations

from emberbox.cli.local.serve import with_flags
from emberbox.config import Settings


def test_flags_win_and_leave_the_rest() -> None:
    settings = with_flags(Settings(), host="0.0.0.0", port=0, workers=3)  # noqa: S104  nothing is bound
    assert (settings.server.host, settings.server.port, settings.worker.concurrency) == ("0.0.0.0", 0, 3)  # noqa: S104
    assert with_flags(Settings(), host=None, port=None, workers=None) == Settings()
