"""`python -m bench`: Emberbox beside what else runs programs, as `make bench` measures it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.comparing import run
from bench.options import ComparedOptions
from emberbox.errors import EmberboxError

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="measure only this; may be repeated"
    )
    parser.add_argument(
        "--language",
        metavar="NAME",
        action="append",
        default=[],
        help="of languages, measure only this; may be repeated",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=RESULTS, help="where the report is written"
    )
    given = parser.parse_args()
    try:
        options = ComparedOptions(quick=given.quick, only=tuple(given.only), languages=tuple(given.language))
        return run(options, json=given.json, output=given.output)
    except EmberboxError as error:
        sys.stderr.write(f"bench: {error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
