"""What was found out about this host, kept in a file until the host is booted again or what it was found out of changes."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def remembered(cache: Path, program: Path, find_out: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `find_out` returns, from the file where it was written since the last boot for the same program.

    Args:
        cache: The file; one that cannot be read or written is passed over.
        program: Its path, size and time of change are part of what the answer depends on.
        find_out: Returns JSON-ready values; what it raises is passed on and not kept.
    """
    key = _key(program)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(cache.read_text())
        if kept["key"] == key and isinstance(kept["found"], dict):
            return dict(kept["found"])
    found = find_out()
    partial = cache.with_name(f".{cache.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"key": key, "found": found}))
        partial.rename(cache)
    return found


def _key(program: Path) -> str:
    status = program.stat()
    return f"{_BOOT.read_text().strip()} {program} {status.st_size} {status.st_mtime_ns}"
