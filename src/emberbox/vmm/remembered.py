"""Findings about this host, kept in a file until its next boot or a change of their source."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.files.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOT = Path("/proc/sys/kernel/random/boot_id")
FORM = 2
"""Raised whenever what is asked for changes, so that no answer of an older version is taken."""


def remembered(cache: Path, program: Path, find_out: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return `find_out()`, from the file where it was written since boot for the same program.

    Args:
        cache: The file; one that cannot be read or written is passed over.
        program: Its path, size and time of change are part of what the answer depends on.
        find_out: Returns JSON-ready values; what it raises is passed on and not kept.
    """
    status = program.stat()
    key = f"{FORM} {since_boot(program, status.st_size, status.st_mtime_ns)}"
    found = recall(cache, key)
    if found is None:
        found = find_out()
        keep(cache, key, found)
    return found


def since_boot(*parts: object) -> str:
    """Return a key of these parts that holds until the host's next boot. Raises `OSError`."""
    return " ".join((_BOOT.read_text().strip(), *map(str, parts)))


def recall(cache: Path, key: str) -> dict[str, Any] | None:
    """Return what was kept under this key; None where nothing was, or cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(cache.read_text())
        if kept["key"] == key and isinstance(kept["found"], dict):
            return dict(kept["found"])
    return None


def keep(cache: Path, key: str, found: dict[str, Any]) -> None:
    """Keep JSON-ready values under a key; a file that cannot be written is passed over."""
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_file(cache, json.dumps({"key": key, "found": found}), mode=None)
