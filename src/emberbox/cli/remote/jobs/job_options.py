"""The options of a job that `emberbox submit` and `emberbox scripts run` share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emberbox.cli.inputs import check_file, read_environment, read_files
from emberbox.cli.remote.remote import read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.client import JobParameters


def read(
    *,
    args: Sequence[str] | None,
    env: Sequence[str] | None,
    files: Sequence[str] | None,
    artifacts: Sequence[str] | None,
    stdin: str | None,
    labels: Sequence[str] | None,
    requirements: str | None = None,
    **plain: Any,
) -> JobParameters:
    """Return what was asked for as the client takes it; what was not, and a switch that is off, is left out.

    Raises:
        InvalidInput: A file that is not there or names no packages, a variable or a label that is none.
    """
    options: dict[str, Any] = {
        **plain,
        "args": list(args or ()),
        "env": read_environment(env or ()),
        "files": {**read_files(files or ()), **_read_requirements(requirements)},
        "artifacts": list(artifacts or ()),
        "labels": read_labels(labels),
        "stdin": None if stdin is None else _read_stdin(stdin),
    }
    nothing: tuple[Any, ...] = (None, [], {})
    wanted = {name: value for name, value in options.items() if value is not False and value not in nothing}
    return cast("JobParameters", wanted)


def _read_requirements(file: str | None) -> dict[str, bytes]:
    """Return the file that names packages, under the name by which the server knows such a file."""
    if file is None:
        return {}
    # The engine's modules take a while to import, and most jobs need none of them here.
    from emberbox.sandbox.packages.requests import PackageRequest

    return dict(PackageRequest.of_path(Path(file)).files)


def _read_stdin(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    check_file(Path(file))
    return Path(file).read_bytes()
