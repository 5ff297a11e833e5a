"""The command `emberbox` as the tests on real VMs start it."""

from __future__ import annotations

import os
import sys

EMBERBOX = (sys.executable, "-m", "emberbox.cli.main")


def environment(**more: str) -> dict[str, str]:
    """Return this process's variables without settings, with bounds that a busy machine keeps, and `more`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EMBERBOX_")}
    bounds = {"EMBERBOX_VMM_BOOT_TIMEOUT_S": "600", "EMBERBOX_VMM_CLONE_TIMEOUT_S": "300"}
    return {**clean, **bounds, **more}
