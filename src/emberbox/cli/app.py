"""The command tree: help, completion, and all commands but the quick way of `emberbox run`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emberbox.cli.commands import option
from emberbox.cli.context import GlobalOptions, configure_logging
from emberbox.cli.failures import guarded
from emberbox.errors import InvalidInput, RequirementMissing

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
    "run": "run.command",
    "serve": "local.serve",
    "setup": "local.setup",
    "doctor": "local.doctor",
    "runtimes": "local.runtimes",
    "images": "local.images",
    "templates": "local.templates",
    "secrets": "local.secrets",
    "bench": "local.bench",
    "submit": "remote.jobs.submit",
    "scripts": "remote.jobs.scripts",
    "jobs": "remote.jobs.jobs",
    "logs": "remote.jobs.logs",
    "keys": "remote.keys",
    "webhooks": "remote.webhooks",
    "usage": "remote.usage",
    "status": "remote.status",
    "machines": "remote.machines",
    "login": "remote.login",
    "profiles": "remote.profiles",
}
"""Where each command is."""
ON_LINUX = frozenset({"run", "serve", "setup", "doctor", "images", "templates", "secrets", "bench"})
"""What runs VMs, or looks after them. The others talk to a server, from any system."""
WITHOUT_SERVER = ON_LINUX | {"runtimes", "login", "profiles"}
"""What speaks to no server that could be named before the command."""
ALIASES = {"image": "images"}
"""Further words for commands, which the help passes over."""


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command tree, without what these words cannot mean.

    Making all of it takes longer than most commands.

    Args:
        words: The command line; without a command in it, the whole tree is made.
    """
    app = typer.Typer(
        name="emberbox",
        help="Run untrusted programs, each in a microVM of its own.",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global)
    helps = words[:1] in (["-h"], ["--help"])
    meant = {ALIASES.get(word, word) for word in words}
    named = [] if helps else [module for command, module in MODULES.items() if command in meant]
    for module in named or MODULES.values():
        import_module(f"emberbox.cli.{module}").register(app)
    for alias, name in ALIASES.items():
        for group in [one.typer_instance for one in app.registered_groups if one.name == name]:
            if group is not None:
                app.add_typer(group, name=alias, hidden=True)
    return app


def _global(
    ctx: typer.Context,
    data: Annotated[
        str | None, option("--data", "Folder of images and templates [env: EMBERBOX_DATA].", "DIR")
    ] = None,
    config: Annotated[str | None, option("--config", "Settings file [env: EMBERBOX_CONFIG].", "FILE")] = None,
    debug: Annotated[
        bool, option("--debug", "Show details and tracebacks of errors [env: EMBERBOX_DEBUG].")
    ] = False,
    verbose: Annotated[bool, option("--verbose -v", "Write the log to standard error.")] = False,
    version: Annotated[
        bool, option("--version", "Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
    server: Annotated[str | None, typer.Option(hidden=True)] = None,
    profile: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    command = ctx.invoked_subcommand or ""
    if (server or profile) and ALIASES.get(command, command) in WITHOUT_SERVER:
        raise InvalidInput(f"emberbox {command} takes no --server and no --profile before it")
    ctx.obj = GlobalOptions(data, config, debug, verbose, server, profile)
    configure_logging(ctx.obj)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"emberbox {version('emberbox')}")
        raise typer.Exit


def run_app(words: Sequence[str]) -> int:
    """Run the command tree and return the exit code."""
    return guarded(_options_for_failures(words), lambda: _invoke(words))


def check_system(words: Sequence[str]) -> None:
    """Raise `RequirementMissing` for a command that this system cannot carry out; its help it can."""
    meant = [ALIASES.get(word, word) for word in words]
    command = next((word for word in meant if word in MODULES), None)
    if sys.platform != "linux" and command in ON_LINUX and not {"-h", "--help"} & set(words):
        raise RequirementMissing(
            f"`emberbox {command}` needs VMs, which run on Linux alone; from here, talk to a server: "
            "emberbox login, then submit, jobs, logs and the like"
        )


def _invoke(words: Sequence[str]) -> int:
    check_system(words)
    try:
        code = make_app(list(words))(args=list(words), prog_name="emberbox", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        # Mistakes in the command line. Typer's own class of them has moved between versions; what
        # it can do has not.
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
