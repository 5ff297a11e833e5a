"""The programs that come with a runtime, by their fixed names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.runtimes import Runtime

FOLDER = "examples"
REQUIRED = ("hello", "program", "compile_error", "runtime_error")
"""What every runtime has."""
TWINS = "twins"
BAD = "bad_"
"""What a compiler must be stopped at begins with this."""

GREETING = b"hello, world\n"
"""What `hello` prints."""
NUMBERS = b"5 3 9\n1\n"
SORTED = b"1 3 5 9\nsum 18\n"
SUM_FILE = ("sum.txt", b"18\n")
EXIT_CODE = 3
"""What `program` makes of `NUMBERS`."""
BEFORE = b"before"
"""What `runtime_error` prints before it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Where a runtime's examples lie, whether they are there or not.

    Args:
        folder: Their folder.
        extension: The runtime's first, with its dot; of a variant that leaves it to another, that
            of its examples.
    """

    folder: Path
    extension: str

    @classmethod
    def of(cls, runtime: Runtime) -> Examples:
        """Return those of a runtime."""
        folder = runtime.folder / FOLDER
        return cls(
            folder=folder, extension=runtime.extensions[0] if runtime.extensions else _extension_in(folder)
        )

    def path(self, name: str) -> Path:
        """Return an example's path."""
        return self.folder / f"{name}{self.extension}"

    def has(self, name: str) -> bool:
        """Tell whether an example is there."""
        return self.path(name).is_file()

    @property
    def missing(self) -> tuple[str, ...]:
        """File names of the required ones that are not there."""
        return tuple(self.path(name).name for name in REQUIRED if not self.has(name))

    @property
    def bad(self) -> tuple[Path, ...]:
        """Those that a compiler must be stopped at, sorted."""
        return tuple(sorted(path for path in self.folder.glob(f"{BAD}*{self.extension}") if path.is_file()))


def _extension_in(folder: Path) -> str:
    """Return the extension of the only example `hello`; empty where there is none or are several."""
    found = list(folder.glob("hello.*"))
    return found[0].suffix if len(found) == 1 else ""
