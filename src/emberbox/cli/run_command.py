"""How `emberbox run` is explained and completed, and what reads its unusual command lines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from emberbox.cli import exit_codes
from emberbox.cli.completion import runtime_names
from emberbox.cli.run_options import RunOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=exit_codes.RUN_EPILOG)(run)


def run(
    ctx: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The script; '-' reads standard input.", show_default=False)
    ] = None,
    args: Annotated[list[str] | None, typer.Argument(metavar="[--] ARGS...", help="Its arguments.", show_default=False)] = None,
    code: Annotated[str | None, typer.Option("--code", "-c", metavar="CODE", help="The script's text, instead of FILE.")] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime", "-r", metavar="NAME", help="Runtime; told from FILE where left out.", autocompletion=runtime_names
        ),
    ] = None,
    timeout_s: Annotated[float | None, typer.Option("--timeout", "-t", metavar="SECONDS", help="Time limit; 0 for none.")] = None,
    memory_mib: Annotated[int | None, typer.Option("--memory", "-m", metavar="MIB", help="Memory of the VM.")] = None,
    vcpus: Annotated[int | None, typer.Option("--vcpus", metavar="N", help="Virtual CPUs.")] = None,
    disk_mib: Annotated[int | None, typer.Option("--disk", metavar="MIB", help="Bound of the files that are written.")] = None,
    max_output_mib: Annotated[
        int | None,
        typer.Option("--max-output", metavar="MIB", help="End a program that writes more; 0 for no bound. [usual: 64]"),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="K[=V]", help="Environment variable; K alone takes yours.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="HOST[:GUEST]", help="File or folder to put beside the script."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Boot a VM instead of cloning one.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, instead of the output as it comes.")] = False,
    time: Annotated[bool, typer.Option("--time", help="Tell on standard error where the time went.")] = False,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Pass standard input even when it is a terminal.")
    ] = False,
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", "-o", metavar="DIR", help="Write the files of its output folder there.")
    ] = None,
    requirements: Annotated[
        str | None,
        typer.Option("--requirements", metavar="FILE", help="Install what this requirements.txt or package.json names."),
    ] = None,
) -> int:
    """Run a script in a microVM of its own, and throw the VM away.

    Output comes as it is written, unchanged; the exit code is the program's. Standard input is passed on unless it is a terminal.
    Options --env and --file may be repeated.
    """
    from emberbox.cli.run import execute

    options: dict[str, Any] = {
        "code": code, "runtime": runtime, "timeout_s": timeout_s, "memory_mib": memory_mib, "vcpus": vcpus, "disk_mib": disk_mib,
        "max_output_mib": max_output_mib, "env": tuple(env or ()), "files": tuple(files or ()), "cold": cold, "json": json,
        "time": time, "interactive": interactive, "output_dir": output_dir, "requirements": requirements,
    }  # fmt: skip
    return execute(ctx.obj, RunOptions.of([*([] if file is None else [file]), *(args or [])], **options))
