"""Reads what the kernel and the system tell in files, each with a bound."""

from __future__ import annotations

from pathlib import Path

_MOST_BYTES = 1024 * 1024
_MOST_NAMES = 10_000


class HostFiles:
    """The files of a host.

    Args:
        root: Where its file system starts; another one than / for a tree that stands for a host.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def read(self, path: str) -> str | None:
        """Return a file's text without the blanks around it, at most 1 MiB.

        None stands for a file that is missing or may not be read.

        Args:
            path: From the root, without a leading slash.
        """
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
        except OSError:
            return None

    def lines(self, path: str) -> list[str]:
        """Return a file's lines that are neither empty nor comments; none when it cannot be read."""
        return [
            line for line in (self.read(path) or "").splitlines() if line.strip() and not line.startswith("#")
        ]

    def names(self, path: str) -> list[str] | None:
        """Return what is in a folder, sorted; None when it cannot be read."""
        try:
            return sorted(
                entry.name for _, entry in zip(range(_MOST_NAMES), (self.root / path).iterdir(), strict=False)
            )
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file or folder."""
        return (self.root / path).exists()
