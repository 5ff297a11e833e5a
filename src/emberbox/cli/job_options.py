"""The options of a job that `emberbox submit` and `emberbox scripts run` share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emberbox.cli.remote import read_labels
from emberbox.cli.run_inputs import check_file, read_environment, read_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.client import JobParameters

Args = Annotated[list[str] | None, typer.Argument(metavar="[--] ARGS...", help="Its arguments.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait/--detach", help="Wait, and show output as it comes.")]
Interactive = Annotated[bool, typer.Option("--interactive", "-i", help="Wait, and pass standard input as it comes.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K[=V]", help="Variable; K alone takes yours.")]
Files = Annotated[list[str] | None, typer.Option("--file", "-f", metavar="HOST[:GUEST]", help="Put a file or folder beside it.")]
Requirements = Annotated[
    str | None,
    typer.Option("--requirements", metavar="FILE", help="Install what this requirements.txt or package.json names."),
]
Artifacts = Annotated[list[str] | None, typer.Option("--artifact", "-a", metavar="GLOB", help="Keep such files afterwards.")]
OutputDir = Annotated[
    str | None, typer.Option("--output-dir", "-o", metavar="DIR", help="With --wait: write what it leaves behind there.")
]
Stdin = Annotated[str | None, typer.Option("--stdin", metavar="FILE", help="What it reads; '-' for standard input.")]
Timeout = Annotated[float | None, typer.Option("--timeout", "-t", metavar="SECONDS", help="Time limit.")]
Memory = Annotated[int | None, typer.Option("--memory", "-m", metavar="MIB", help="Memory of the VM.")]
Vcpus = Annotated[int | None, typer.Option("--vcpus", metavar="N", help="Virtual CPUs.")]
Disk = Annotated[int | None, typer.Option("--disk", metavar="MIB", help="Bound of the files that are written.")]
Priority = Annotated[int | None, typer.Option("--priority", metavar="N", help="-10 to 10; higher ones start first.")]
Retries = Annotated[int | None, typer.Option("--retries", metavar="N", help="Repeat when the program fails.")]
Name = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="A name for people.")]
Webhook = Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Tell this address of the end.")]
Cold = Annotated[bool, typer.Option("--cold", help="Boot a VM instead of cloning one.")]


def read(
    *,
    args: Sequence[str] | None,
    env: Sequence[str] | None,
    files: Sequence[str] | None,
    artifacts: Sequence[str] | None,
    stdin: str | None,
    labels: Sequence[str] | None,
    cold: bool,
    requirements: str | None = None,
    **plain: Any,
) -> JobParameters:
    """Return what was asked for as the client takes it; what was not is left out.

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
        "cold": cold or None,
    }
    wanted: JobParameters = {}
    wanted.update({name: value for name, value in options.items() if value is not None and value not in ([], {})})  # type: ignore[typeddict-item]
    return wanted


def _read_requirements(file: str | None) -> dict[str, bytes]:
    """Return what names packages under the names by which a job is known to bring some: whatever the file is called here."""
    if file is None:
        return {}
    # The engine's modules take a while to import, and most jobs need none of them here.
    from emberbox.sandbox.packages import PackageRequest

    return dict(PackageRequest.of_path(Path(file)).files)


def _read_stdin(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    check_file(Path(file))
    return Path(file).read_bytes()
