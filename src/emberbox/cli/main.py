"""The way in. Imports next to nothing by itself: `emberbox run` is the hot path."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emberbox.cli.failures import guarded
from emberbox.cli.run.options import parse_quickly

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The words behind the program's name; None for this process's own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    quick = parse_quickly(words) if sys.platform == "linux" else None
    if quick is not None:
        from emberbox.cli.run.run import execute

        options, run = quick
        return guarded(options, lambda: execute(options, run))
    from emberbox.cli.app import run_app

    return run_app(words)


if __name__ == "__main__":
    sys.exit(main())
