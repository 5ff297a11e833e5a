"""The command tree, for all that is not the quick way of `emberbox run`: help, completion, and the other commands."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emberbox.cli.context import GlobalOptions, configure_logging
from emberbox.cli.failures import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG = """\b
Examples:
  emberbox doctor                 what this machine has, and what it lacks
  emberbox setup                  install what is missing, build images
  emberbox run hello.py           run a script in a microVM of its own
  emberbox run -c 'echo $((6*7))' -r bash
  emberbox submit hello.py --wait the same as a job on a server
"""


MODULES = {
    "run": "run_command",
    "serve": "serve",
    "setup": "setup",
    "doctor": "doctor",
    "runtimes": "runtimes",
    "images": "images",
    "image": "images",
    "templates": "templates",
    "bench": "bench",
    "submit": "submit",
    "scripts": "scripts",
    "jobs": "jobs",
    "logs": "logs",
    "keys": "keys",
    "webhooks": "webhooks",
    "usage": "usage",
    "status": "status",
    "login": "login",
    "profiles": "profiles",
}
"""Where each command is."""


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command tree, without what these words cannot mean: making all of it takes longer than most commands.

    Args:
        words: The command line; without a command in it, the whole tree is made.
    """
    app = typer.Typer(
        name="emberbox", help="Run untrusted programs, each in a microVM of its own.", epilog=_EPILOG, no_args_is_help=True,
        rich_markup_mode=None, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_global)
    helps = words[:1] in (["-h"], ["--help"])
    named = [] if helps else [module for command, module in MODULES.items() if command in words]
    for module in dict.fromkeys(named or MODULES.values()):
        import_module(f"emberbox.cli.{module}").register(app)
    return app


def _global(
    ctx: typer.Context,
    data: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of images and templates [env: EMBERBOX_DATA].")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Settings file [env: EMBERBOX_CONFIG].")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show details and tracebacks of errors [env: EMBERBOX_DEBUG].")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Write the log to standard error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    ctx.obj = GlobalOptions(data=data, config=config, debug=debug, verbose=verbose)
    configure_logging(ctx.obj)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"emberbox {version('emberbox')}")
        raise typer.Exit


def run_app(words: Sequence[str]) -> int:
    """Run the command tree and return the exit code."""
    return guarded(_options_for_failures(words), lambda: _invoke(words))


def _invoke(words: Sequence[str]) -> int:
    try:
        code = make_app(list(words))(args=list(words), prog_name="emberbox", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        # Mistakes in the command line. Typer's own class of them has moved between versions; what it can do has not.
        show: Any = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 1))
    return code if isinstance(code, int) else 0


def _options_for_failures(words: Sequence[str]) -> GlobalOptions:
    """Tell what failures need to know, even those of reading the command line itself."""
    before_command = []
    for word in words:
        if word == "--":
            break
        before_command.append(word)
    return GlobalOptions(debug="--debug" in before_command)
